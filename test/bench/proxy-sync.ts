import { monitorEventLoopDelay } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { createIptablesProxier } from '../../proxy/iptables/proxier.ts';
import { createChangeTracker } from '../../proxy/state/tracker.ts';
import { run } from '../../src/linux/exec.ts';
import { createIptables } from '../../src/netfilter/iptables.ts';
import { NODE_NAME, NODE_OPTIONS, serviceOf, sliceOf } from '../support/proxy.ts';

/**
 * How long rules take to reach the kernel, in a network namespace of its own:
 *     node test/bench/proxy-sync.ts --services 1000 --endpoints 3
 * Prints one JSON object, times in milliseconds.
 */
const { values } = parseArgs({
  options: { services: { type: 'string', default: '1000' }, endpoints: { type: 'string', default: '3' } },
});
const services = Number(values.services);
const endpoints = Number(values.endpoints);
const ROUNDS = 10;

const netnsName = `berth-bench-${process.pid}`;
await run('ip', ['netns', 'add', netnsName]);
try {
  console.log(JSON.stringify(await measure(`/run/netns/${netnsName}`), null, 2));
} finally {
  await run('ip', ['netns', 'delete', netnsName]);
}

async function measure(netns: string) {
  const tracker = createChangeTracker({ family: 'IPv4', nodeName: NODE_NAME });
  const addresses = (seed: number) =>
    Array.from({ length: endpoints }, (_, index) => {
      const number = seed * endpoints + index + 2;
      return `10.${128 + (number >> 16)}.${(number >> 8) & 255}.${number & 255}`;
    });
  for (let index = 0; index < services; index++) {
    const name = `bench/service-${String(index).padStart(6, '0')}`;
    tracker.setService(serviceOf(name, `10.96.${index >> 8}.${index & 255}`));
    tracker.setSlice(sliceOf(name, addresses(index)));
  }
  const iptables = createIptables({ family: 'IPv4', run, netns });
  const { snapshot } = tracker.take();
  const options = { node: NODE_OPTIONS, full: false };

  let proxier = createIptablesProxier(iptables);
  const firstFull = await timed(() => proxier.sync(snapshot, new Set(), options));
  proxier = createIptablesProxier(iptables);
  const restart = await timed(() => proxier.sync(snapshot, new Set(), options));

  const partial: number[] = [];
  let longestBlockMs = 0;
  for (let round = 0; round < ROUNDS; round++) {
    tracker.setSlice(sliceOf('bench/service-000000', addresses(services + round)));
    const change = await timed(() => {
      const taken = tracker.take();
      return proxier.sync(taken.snapshot, taken.dirty, options);
    });
    partial.push(change.ms);
    longestBlockMs = Math.max(longestBlockMs, change.longestBlockMs);
  }
  partial.sort((a, b) => a - b);
  return {
    services,
    endpointsEach: endpoints,
    firstFullSync: firstFull,
    restartOverStandingRules: restart,
    oneEndpointChanged: { p50Ms: partial[ROUNDS / 2], maxMs: partial.at(-1), longestBlockMs },
    rssMib: Math.round(process.memoryUsage.rss() / 2 ** 20),
  };
}

async function timed(work: () => Promise<unknown>): Promise<{ ms: number; longestBlockMs: number }> {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const startMs = performance.now();
  await work();
  const ms = performance.now() - startMs;
  await new Promise((resolve) => setTimeout(resolve, 5));
  delay.disable();
  return { ms: round(ms), longestBlockMs: round(delay.max / 1e6) };
}

function round(ms: number): number {
  return Math.round(ms * 10) / 10;
}

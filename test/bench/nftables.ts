import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { createNftablesMode } from '../../proxy/nftables/mode.ts';
import type { Endpoint, ProxySnapshot, ServiceState } from '../../proxy/state/model.ts';
import { run } from '../../src/linux/exec.ts';
import { silentLogger } from '../../src/runtime/log.ts';
import { Registry } from '../../src/runtime/metrics.ts';
import { NODE_OPTIONS } from '../support/proxy.ts';
import { say } from './support.ts';

/**
 * What the nftables mode itself costs, without the API server's part: a snapshot into the kernel, and changes of it, beside `nft -f` of the
 * same rules (the floor). In a network namespace of its own.
 *
 *     node test/bench/nftables.ts --services 1000,10000 --endpoints 2
 *     node test/bench/nftables.ts --services 5000 --endpoints 50 --floor
 *
 * CPU counts where the clock is noisy: seconds of this process, its own and the kernel's on its behalf. A change is paired with one at a
 * tenth of the services in the same run: the ratio says whether its cost follows the cluster's size.
 */
const { values } = parseArgs({
  options: {
    services: { type: 'string', default: '1000,10000' },
    endpoints: { type: 'string', default: '2' },
    changes: { type: 'string', default: '60' },
    floor: { type: 'boolean', default: false },
  },
});

const ENDPOINTS = Number(values.endpoints);
const CHANGES = Number(values.changes);

for (const services of values.services.split(',').map(Number)) {
  const small = await measure(Math.max(1, services / 10), false);
  const large = await measure(services, values.floor);
  const text = [
    `first sync ${large.firstSyncMs} ms (CPU ${large.firstSyncCpuMs} ms, of it kernel ${large.firstSyncKernelMs})`,
    `sync of what stands ${large.againMs} ms`,
    `change p50 ${large.changeMs.toFixed(2)} ms (CPU ${large.changeCpuMs.toFixed(2)}; at a tenth of the services ${small.changeCpuMs.toFixed(2)})`,
    `RSS +${large.rssMib} MiB`,
    ...(large.floorMs === undefined ? [] : [`nft -f ${large.floorMs} ms`]),
  ];
  say(`${services} × ${ENDPOINTS}: ${text.join('; ')}`);
}

async function measure(services: number, withFloor: boolean) {
  const name = `berth-nft-${process.pid}-${services}`;
  const netns = `/run/netns/${name}`;
  await run('ip', ['netns', 'add', name]);
  try {
    const states = new Map(Array.from({ length: services }, (_, index) => [keyOf(index), stateOf(index)]));
    const snapshot: ProxySnapshot = { family: 'IPv4', services: states };
    const mode = createNftablesMode({ netns, run, log: silentLogger, metrics: new Registry() } as never);
    const proxier = mode.proxier('IPv4');
    const rssBefore = process.memoryUsage().rss;
    const full = { node: NODE_OPTIONS, full: true };
    const first = await timed(() => proxier.sync(snapshot, new Set(), full));
    const rssMib = Math.round((process.memoryUsage().rss - rssBefore) / 2 ** 20);
    const again = await timed(() => proxier.sync(snapshot, new Set(), full));
    const controller = new AbortController();
    const watching = proxier.watchTampering?.(controller.signal, () =>
      say('our own changes look like somebody else’s'),
    );
    const changes: Awaited<ReturnType<typeof timed>>[] = [];
    for (let index = 0; index < CHANGES; index++) {
      const service = (index * 7919) % services;
      // An endpoint is replaced, one goes, one comes: the last two lead the service to another chain.
      states.set(keyOf(service), stateOf(service, index));
      const dirty = new Set([keyOf(service)]);
      changes.push(await timed(() => proxier.sync(snapshot, dirty, { ...full, full: false })));
      await sleep(1);
    }
    controller.abort();
    await watching;
    const median = (pick: (one: (typeof changes)[number]) => number) =>
      changes.map(pick).sort((a, b) => a - b)[Math.floor(CHANGES / 2)]!;
    let floorMs: number | undefined;
    if (withFloor) {
      const text = await mode.renderText!(snapshot, NODE_OPTIONS);
      await mode.cleanup('IPv4');
      floorMs = Math.round((await timed(() => run('nft', ['-f', '-'], { netns, input: text, timeoutMs: 600_000 }))).ms);
    }
    await proxier.close?.();
    return {
      firstSyncMs: Math.round(first.ms),
      firstSyncCpuMs: Math.round(first.cpuMs),
      firstSyncKernelMs: Math.round(first.kernelMs),
      againMs: Math.round(again.ms),
      changeMs: median(({ ms }) => ms),
      changeCpuMs: median(({ cpuMs }) => cpuMs),
      rssMib,
      floorMs,
    };
  } finally {
    await run('ip', ['netns', 'delete', name]);
  }
}

async function timed(work: () => Promise<unknown>) {
  const [startMs, startCpu] = [performance.now(), process.cpuUsage()];
  await work();
  const cpu = process.cpuUsage(startCpu);
  return { ms: performance.now() - startMs, cpuMs: (cpu.user + cpu.system) / 1000, kernelMs: cpu.system / 1000 };
}

function keyOf(index: number): string {
  return `ns${index % 50}/svc${index}`;
}

/** @param change odd ones of three replace, drop or add an endpoint */
function stateOf(index: number, change?: number): ServiceState {
  const [namespace, name] = keyOf(index).split('/') as [string, string];
  const endpoints = Array.from({ length: ENDPOINTS }, (_, at) => endpointOf(index * ENDPOINTS + at));
  if (change !== undefined) {
    const other = endpointOf(2 ** 22 + change);
    if (change % 3 === 0) endpoints[0] = other;
    else if (change % 3 === 1 && endpoints.length > 1) endpoints.pop();
    else endpoints.push(other);
  }
  const port = {
    namespace,
    name,
    displayName: keyOf(index),
    portName: '',
    protocol: 'TCP' as const,
    clusterIp: `10.${96 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`,
    port: 80,
    nodePort: 0,
    healthCheckNodePort: 0,
    externalIps: [],
    loadBalancerVips: [],
    loadBalancerSourceRanges: [],
    isInternalPolicyLocal: false,
    isExternalPolicyLocal: false,
  };
  return { ports: [{ port, endpoints }] };
}

function endpointOf(number: number): Endpoint {
  const ip = `10.${128 + ((number >> 16) & 127)}.${(number >> 8) & 255}.${number & 255}`;
  return {
    ip,
    port: 8080,
    address: `${ip}:8080`,
    isLocal: false,
    isReady: true,
    isServing: true,
    isTerminating: false,
    zoneHints: [],
    nodeHints: [],
  };
}

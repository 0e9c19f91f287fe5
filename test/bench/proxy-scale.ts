import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { run } from '../../src/linux/exec.ts';
import { startBenchChild } from './proxy/child.ts';
import { measureFloor } from './proxy/floor.ts';
import { type Subject, startSubject } from './proxy/subject.ts';
import { API_PORT, LIVE_ENDPOINTS, METRICS_PORT, type Order, type TrafficOrder } from './proxy/world.ts';
import { say, summarize } from './support.ts';

/**
 * What a proxy costs at a number of services, each program a process of its own in a network namespace of its own, over the same made-up API
 * server:
 *
 *     node test/bench/proxy-scale.ts --services 5000,10000 --subjects berth:iptables,kube-proxy:iptables
 *     node test/bench/proxy-scale.ts --services 10000 --subjects berth:nftables --burst-seconds 60
 *
 * One line a run: seconds of the first full sync (the program's own histogram) and of the raw program that writes the same rules in one go (the
 * floor); milliseconds from an endpoint's change at the API server until traffic goes to the new one, every 1.5 s so that no limit of the
 * rate counts; microseconds of a connection's first packets and MiB/s through the last service's address; memory and CPU.
 * With --burst-seconds: 100 changes a second for so long, then how long the last of them took, and the CPU of it.
 */
const { values } = parseArgs({
  options: {
    services: { type: 'string', default: '1000' },
    endpoints: { type: 'string', default: '2' },
    subjects: { type: 'string', default: 'berth:iptables' },
    changes: { type: 'string', default: '11' },
    'burst-seconds': { type: 'string', default: '0' },
    'min-sync-ms': { type: 'string', default: '1000' },
    floor: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});

const NODE_NAME = 'bench-node';
const NODE_IP = '192.168.60.1';
const START_TIMEOUT_MS = 600_000;

for (const services of values.services.split(',').map(Number))
  for (const text of values.subjects.split(',')) {
    const [program, mode] = text.split(':') as [Subject['program'], string];
    const result = await measure({ program, mode }, services);
    say(values.json ? JSON.stringify({ subject: text, ...result }) : describe(text, result));
  }

type Result = Awaited<ReturnType<typeof measure>>;

async function measure(subject: Subject, services: number) {
  const name = `berth-scale-${process.pid}`;
  const netns = `/run/netns/${name}`;
  const folder = mkdtempSync(join(tmpdir(), 'berth-scale-'));
  await run('ip', ['netns', 'add', name]);
  const api = startBenchChild<Order>('api-server-child.ts', netns);
  const traffic = startBenchChild<TrafficOrder>('traffic-child.ts', netns);
  let running: ReturnType<typeof startSubject> | undefined;
  try {
    await prepareNetwork(netns);
    await traffic.tell({ serve: LIVE_ENDPOINTS });
    const [first, second] = LIVE_ENDPOINTS;
    const endpoints = Number(values.endpoints);
    const firstEndpoints = [first];
    await api.tell({
      start: { port: API_PORT, services, endpoints, nodeName: NODE_NAME, nodeIp: NODE_IP, firstEndpoints },
    });
    const startMs = performance.timeOrigin + performance.now();
    const minSyncPeriodMs = Number(values['min-sync-ms']);
    running = startSubject(subject, { netns, folder, nodeName: NODE_NAME, minSyncPeriodMs });
    const until = (endpoint: string, timeoutMs = START_TIMEOUT_MS) =>
      traffic.tell({ until: { service: 0, endpoint, timeoutMs } }) as Promise<number>;
    const answeredMs = (await until(first)) - startMs;
    const firstSyncSeconds = await firstSync(traffic);
    await sleep(3000);
    const afterStart = { cpuSeconds: running.cpuSeconds(), ...running.rssMib() };

    const changesMs: number[] = [];
    for (let index = 0; index < Number(values.changes); index++) {
      const endpoint = index % 2 ? first : second;
      const changedMs = performance.timeOrigin + performance.now();
      await api.tell({ change: { service: 0, addresses: [endpoint] } });
      changesMs.push((await until(endpoint)) - changedMs);
      await sleep(minSyncPeriodMs + 500);
    }
    const live = Number(values.changes) % 2 ? second : first;
    const connects = (await traffic.tell({ connects: { service: 0, count: 500 } })) as number[];
    const streamMibPerSecond = (await traffic.tell({ stream: { service: 0, mebibytes: 1024 } })) as number;

    const burst = Number(values['burst-seconds']) > 0 ? await measureBurst(live) : undefined;
    return {
      services,
      endpoints,
      startToAnswerSeconds: answeredMs / 1000,
      firstSyncSeconds,
      floorSeconds: values.floor ? await measureFloor(subject.mode, netns) : undefined,
      changeMs: summarize(changesMs),
      connectMicroseconds: summarize(connects),
      streamMibPerSecond,
      cpuSecondsAtStart: afterStart.cpuSeconds,
      rssMib: running.rssMib(),
      burst,
    };

    async function measureBurst(liveNow: string) {
      const cpuBefore = running!.cpuSeconds();
      const seconds = Number(values['burst-seconds']);
      const tookMs = (await api.tell({ burst: { perSecond: 100, seconds } })) as number;
      const endpoint = liveNow === first ? second : first;
      const changedMs = performance.timeOrigin + performance.now();
      await api.tell({ change: { service: 0, addresses: [endpoint] } });
      const lastMs = (await until(endpoint)) - changedMs;
      return { seconds: tookMs / 1000, lastMs, cpuSeconds: running!.cpuSeconds() - cpuBefore };
    }
  } catch (error) {
    throw new Error(
      `${subject.program}:${subject.mode} at ${services}: ${(error as Error).message}\n${running?.logs()}`,
      {
        cause: error,
      },
    );
  } finally {
    await running?.end();
    api.end();
    traffic.end();
    await run('ip', ['netns', 'delete', name]);
    rmSync(folder, { recursive: true, force: true });
  }
}

/** An uplink that ends in nothing: packets to a cluster IP need some route before they are translated. */
async function prepareNetwork(netns: string): Promise<void> {
  const ip = (...args: string[]) => run('ip', args, { netns });
  await ip('link', 'set', 'lo', 'up');
  await ip('link', 'add', 'wan0', 'type', 'veth', 'peer', 'name', 'wan1');
  await ip('addr', 'add', `${NODE_IP}/24`, 'dev', 'wan0');
  for (const end of ['wan0', 'wan1']) await ip('link', 'set', end, 'up');
  await ip('route', 'add', 'default', 'via', '192.168.60.9');
  for (const address of LIVE_ENDPOINTS) await ip('addr', 'add', `${address}/32`, 'dev', 'lo');
}

/** Of the program's own histogram: the sum of IPv4's first entry. */
async function firstSync(traffic: ReturnType<typeof startBenchChild<TrafficOrder>>): Promise<number> {
  const name = 'kubeproxy_sync_proxy_rules_duration_seconds';
  for (;;) {
    const page = String(await traffic.tell({ page: `http://127.0.0.1:${METRICS_PORT}/metrics` }));
    const value = (part: string) =>
      Number(new RegExp(`^${name}_${part}(?:\\{ip_family="IPv4"\\})? (\\S+)`, 'm').exec(page)?.[1] ?? 0);
    // Had there been a second one it would have been for nothing, and have taken next to no time.
    if (value('count') > 0) return value('sum');
    await sleep(50);
  }
}

function describe(subject: string, result: Result): string {
  const { changeMs, connectMicroseconds, rssMib, burst, floorSeconds } = result;
  return [
    `${subject.padEnd(20)} ${result.services} × ${result.endpoints}:`,
    `first sync ${result.firstSyncSeconds.toFixed(2)} s${floorSeconds === undefined ? '' : ` (floor ${floorSeconds.toFixed(2)} s)`},`,
    `start to answer ${result.startToAnswerSeconds.toFixed(2)} s, CPU ${result.cpuSecondsAtStart.toFixed(1)} s;`,
    `change p50 ${changeMs.p50.toFixed(0)} ms (max ${changeMs.max.toFixed(0)});`,
    `connect p50 ${connectMicroseconds.p50.toFixed(0)} µs, ${result.streamMibPerSecond.toFixed(0)} MiB/s;`,
    `RSS ${rssMib.now} MiB (peak ${rssMib.peak})`,
    burst
      ? `; 100 changes/s for ${burst.seconds.toFixed(0)} s: the next one ${burst.lastMs.toFixed(0)} ms, CPU ${burst.cpuSeconds.toFixed(1)} s`
      : '',
  ].join(' ');
}

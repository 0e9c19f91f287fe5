/**
 * What thousands of probes cost the agent: the probe manager as it is, with HTTP and TCP readiness probes every second against a server of
 * another process on loopback (its cost is not counted).
 *
 *   CPU       of this process, per cent of one core, over the measured seconds
 *   lateness  how much later than its period a probe ran after the one before
 *
 *     .toolchain/bin/node test/bench/probes.ts [probes] [seconds]
 */
import { fork } from 'node:child_process';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { createProbeManager } from '../../agent/probes/manager.ts';
import { createProber, type Prober } from '../../agent/probes/prober.ts';
import { createNodeMetrics } from '../../agent/stats/metrics.ts';
import type { Pod, Probe } from '../../src/kube/types.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { Registry } from '../../src/runtime/metrics.ts';

const PERIOD_MS = 1000;
const WARM_UP_MS = 3000;
/** Connections to one address and port would run out of source ports, since each holds its own for a minute. */
const SERVERS = 64;

if (process.argv[2] === 'server') await serve();
else await measure(Number(process.argv[2] ?? 2000), Number(process.argv[3] ?? 10));

/** Answers like a small program: a status, two headers, a short body. */
async function serve(): Promise<void> {
  const ports: number[] = [];
  for (let at = 0; at < SERVERS; at++) {
    const server = createServer((_, response) => response.writeHead(200, { 'content-type': 'text/plain' }).end('ok\n'));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', 1024, resolve));
    ports.push((server.address() as AddressInfo).port);
  }
  process.send?.(ports);
}

async function measure(count: number, seconds: number): Promise<void> {
  const server = fork(import.meta.filename, ['server']);
  const ports = await new Promise<number[]>((resolve) => server.once('message', (list) => resolve(list as number[])));
  try {
    for (const [title, share] of [
      ['TCP', () => 'tcpSocket'],
      ['HTTP', () => 'httpGet'],
      ['half and half', (at: number) => (at % 2 ? 'tcpSocket' : 'httpGet')],
    ] as [string, (at: number) => Handler][])
      report(title, count, seconds, await run(count, seconds, ports, share));
  } finally {
    server.kill();
  }
}

type Handler = 'tcpSocket' | 'httpGet';

interface Figures {
  cpuPerCent: number;
  lateMs: number[];
  probes: number;
  failures: number;
}

async function run(count: number, seconds: number, ports: number[], share: (at: number) => Handler): Promise<Figures> {
  const real = createProber({
    exec: { exec: () => Promise.reject(new Error('no exec here')) },
    userAgent: 'kube-probe/1.36',
  });
  const lastMs = new Map<string, number>();
  let lateMs: number[] = [];
  let failures = 0;
  const prober: Prober = async (settings, target) => {
    const nowMs = performance.now();
    const before = lastMs.get(target.containerId);
    if (before !== undefined) lateMs.push(nowMs - before - PERIOD_MS);
    lastMs.set(target.containerId, nowMs);
    const outcome = await real(settings, target);
    if (outcome.result !== 'success') failures++;
    return outcome;
  };
  const metrics = createNodeMetrics(
    { nodeName: 'bench' },
    {
      registry: new Registry(),
      probeRegistry: new Registry(),
      pods: { list: () => [], runtime: () => undefined },
      clock: systemClock,
    },
  );
  const manager = createProbeManager({
    prober,
    events: { event() {} },
    clock: systemClock,
    hostIp: () => '127.0.0.1',
    onProbe: metrics.probed,
  });
  const stop = new AbortController();
  const done = manager.run(stop.signal);
  for (let at = 0; at < count; at++) addPod(manager, at, share(at), ports[at % ports.length]!);
  await sleep(WARM_UP_MS);
  lateMs = [];
  const cpu = process.cpuUsage();
  const startMs = performance.now();
  await sleep(seconds * 1000);
  const { user, system } = process.cpuUsage(cpu);
  const cpuPerCent = (user + system) / 10 / (performance.now() - startMs);
  stop.abort();
  await done;
  return { cpuPerCent, lateMs, probes: lateMs.length, failures };
}

/** As after a restart of the agent: the container is older, so that its first look falls anywhere in the period. */
function addPod(manager: ReturnType<typeof createProbeManager>, at: number, handler: Handler, port: number): void {
  const uid = `uid-${at}`;
  const id = String(at).padStart(64, '0');
  const readinessProbe: Probe = {
    periodSeconds: PERIOD_MS / 1000,
    ...(handler === 'tcpSocket' ? { tcpSocket: { port } } : { httpGet: { port, path: '/healthz' } }),
  };
  const pod: Pod = {
    metadata: { name: `pod-${at}`, namespace: 'bench', uid, resourceVersion: '1', creationTimestamp: '' },
    spec: { containers: [{ name: 'app', image: 'x', readinessProbe }] },
  };
  const startedAtMs = Date.now() - 60_000;
  const sandbox = { id: 's', attempt: 0, state: 'running' as const, createdAtMs: startedAtMs, hostNetwork: false };
  const ips = ['127.0.0.1'];
  manager.addPod(pod);
  manager.observe(pod, {
    uid,
    name: pod.metadata.name,
    namespace: 'bench',
    ips,
    sandboxes: [{ ...sandbox, ips }],
    containers: [
      {
        id,
        name: 'app',
        state: 'running',
        createdAtMs: startedAtMs,
        startedAtMs,
        oomKilled: false,
        image: 'x',
        imageId: 'x',
        restartCount: 0,
        hash: '',
        sandboxId: 's',
      },
    ],
  });
}

function report(title: string, count: number, seconds: number, { cpuPerCent, lateMs, probes, failures }: Figures) {
  const sorted = [...lateMs].sort((one, other) => one - other);
  const late = (share: number) =>
    (sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN).toFixed(1);
  process.stdout.write(
    `${count} ${title} probes every ${PERIOD_MS / 1000} s, ${seconds} s: ${cpuPerCent.toFixed(1)} % of a core, ` +
      `${((cpuPerCent * 10_000 * seconds) / probes).toFixed(0)} µs a probe, late p50 ${late(0.5)} ms, p99 ${late(0.99)} ms, ` +
      `max ${late(1)} ms, ${probes} probes, ${failures} failed\n`,
  );
}

/**
 * Pods of two hosts, connected by our overlay and by the same devices that ip(8) made by hand: TCP throughput and round trips, in turns on one
 * machine, so that its day is in both. What is to be seen is that nothing of ours is in the way of packets; the udp backend, where all of it is,
 * is shown beside.
 *
 *     .toolchain/bin/node test/bench/overlay.ts [rounds]
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { OverlayBackend } from '../../cni/overlay/backend.ts';
import { createHostGateway } from '../../cni/overlay/host-gw/host-gateway.ts';
import { createUdp } from '../../cni/overlay/udp/udp.ts';
import { createVxlan } from '../../cni/overlay/vxlan/vxlan.ts';
import { findProgram } from '../../src/linux/exec.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { silentLogger } from '../../src/runtime/log.ts';
import { createOverlaySwitch, type OverlayHost, VXLAN_DEFAULTS } from '../support/overlay-hosts.ts';
import type { TrafficOrder } from './overlay/traffic-child.ts';
import { continueInside, say, summarize, withHost } from './support.ts';

const DEFAULT_ROUNDS = 30;
const STREAM_MS = 250;
const ECHO_MS = 150;

type Pair = [OverlayHost, OverlayHost];
interface Subject {
  name: string;
  measure(): Promise<{ megabits: number; microseconds: number }>;
}

const teardowns: (() => unknown)[] = [];
const scope = { teardown: (fn: () => unknown) => void teardowns.unshift(fn) };

async function createSubject(name: string, connect: (hosts: Pair) => Promise<void>): Promise<Subject> {
  const net = await createOverlaySwitch(scope);
  const hosts: Pair = [await net.addHost(1), await net.addHost(2)];
  await connect(hosts);
  const [client, server] = hosts.map(({ pod }) => startTraffic(pod.path));
  await ask(server!, { serve: true });
  return {
    name,
    async measure() {
      const megabits = await ask(client!, { stream: '10.244.2.2', milliseconds: STREAM_MS });
      const microseconds = await ask(client!, { echo: '10.244.2.2', milliseconds: ECHO_MS });
      return { megabits, microseconds };
    },
  };
}

function startTraffic(netns: string): ChildProcess {
  const script = join(import.meta.dirname, 'overlay/traffic-child.ts');
  const child = spawn(findProgram('nsenter'), [`--net=${netns}`, '--', process.execPath, script], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  scope.teardown(() => child.kill('SIGKILL'));
  return child;
}

async function ask(child: ChildProcess, order: TrafficOrder): Promise<number> {
  child.send(order);
  return (await once(child, 'message'))[0] as number;
}

type Open = (host: OverlayHost) => OverlayBackend;

/** Both ends ours. */
const byUs = (open: Open) => async (hosts: Pair) => {
  const backends = hosts.map(open);
  const ready = [];
  for (const [index, backend] of backends.entries()) ready.push(await backend.ensure(await hosts[index]!.self()));
  const controller = new AbortController();
  for (const [index, backend] of backends.entries()) {
    const other = hosts[1 - index]!;
    await backend.sync(new Map([[`node${other.number}`, other.peer(backend.type, ready[1 - index]!.data)]]));
    const running = backend.run?.(controller.signal);
    scope.teardown(async () => {
      controller.abort();
      await running;
      backend.close();
    });
  }
};

async function vxlanByHand([one, two]: Pair): Promise<void> {
  const mac = ({ number }: OverlayHost) => `02:00:00:00:00:0${number}`;
  for (const [host, other] of [
    [one, two],
    [two, one],
  ] as const) {
    const type = ['type', 'vxlan', 'id', '1', 'local', host.address, 'dev', 'eth0', 'dstport', '8472', 'nolearning'];
    await host.ip('link', 'add', 'flannel.1', 'address', mac(host), 'mtu', '1450', ...type);
    await host.ip('addr', 'add', `10.244.${host.number}.0/32`, 'dev', 'flannel.1');
    await host.ip('link', 'set', 'flannel.1', 'up');
    const gateway = `10.244.${other.number}.0`;
    await host.ip('neigh', 'add', gateway, 'lladdr', mac(other), 'dev', 'flannel.1', 'nud', 'permanent');
    await host.run('bridge', ['fdb', 'add', mac(other), 'dev', 'flannel.1', 'dst', other.address]);
    await host.ip('route', 'add', `${gateway}/24`, 'via', gateway, 'dev', 'flannel.1', 'onlink');
  }
}

async function routesByHand([one, two]: Pair): Promise<void> {
  await one.ip('route', 'add', '10.244.2.0/24', 'via', two.address);
  await two.ip('route', 'add', '10.244.1.0/24', 'via', one.address);
}

const deps = (host: OverlayHost) => ({ log: silentLogger, clock: systemClock, hostNetns: host.path });

async function compare(rounds: number): Promise<void> {
  const pairs: [Subject, Subject][] = [
    [
      await createSubject(
        'vxlan',
        byUs((host) => createVxlan(VXLAN_DEFAULTS, deps(host))),
      ),
      await createSubject('vxlan by hand', vxlanByHand),
    ],
    [
      await createSubject(
        'host-gw',
        byUs((host) => createHostGateway(deps(host))),
      ),
      await createSubject('host-gw by hand', routesByHand),
    ],
  ];
  for (const [ours, theirs] of pairs) {
    const rates: Record<string, number[]> = { ours: [], hand: [], throughput: [], latency: [] };
    const trips: Record<string, number[]> = { ours: [], hand: [] };
    await ours.measure();
    await theirs.measure();
    for (let round = 0; round < rounds; round++) {
      // Who comes first changes: whatever the machine does at times meets both.
      const order = round % 2 === 0 ? [ours, theirs] : [theirs, ours];
      const first = await order[0]!.measure();
      const second = await order[1]!.measure();
      const [own, hand] = round % 2 === 0 ? [first, second] : [second, first];
      rates['ours']!.push(own.megabits);
      rates['hand']!.push(hand.megabits);
      rates['throughput']!.push(own.megabits / hand.megabits);
      trips['ours']!.push(own.microseconds);
      trips['hand']!.push(hand.microseconds);
      rates['latency']!.push(hand.microseconds / own.microseconds);
    }
    const p50 = (sample: number[]) => summarize(sample).p50;
    say(
      `${ours.name.padEnd(8)} throughput ${p50(rates['ours']!).toFixed(0)} Mbit/s, by hand ${p50(rates['hand']!).toFixed(0)}: ` +
        `ratio p50 ${p50(rates['throughput']!).toFixed(3)} (aim ≥ 0.97)`,
    );
    say(
      `${ours.name.padEnd(8)} round trip ${p50(trips['ours']!).toFixed(1)} µs, by hand ${p50(trips['hand']!).toFixed(1)}: ` +
        `ratio p50 ${p50(rates['latency']!).toFixed(3)} (aim ≥ 0.97), n=${rounds}`,
    );
  }
  const udp = await createSubject(
    'udp',
    byUs((host) => createUdp({ port: 8285 }, deps(host))),
  );
  const moved: Awaited<ReturnType<Subject['measure']>>[] = [];
  // The thread has a moment to come up.
  await systemClock.sleep(1000);
  for (let round = 0; round < Math.max(2, rounds / 3); round++) moved.push(await udp.measure());
  const of = (key: 'megabits' | 'microseconds') => summarize(moved.map((one) => one[key])).p50;
  say(
    `udp      throughput ${of('megabits').toFixed(0)} Mbit/s, round trip ${of('microseconds').toFixed(1)} µs: both threads on this machine`,
  );
}

if (process.argv[2] === 'inside') {
  try {
    await compare(Number(process.argv[3]));
  } finally {
    for (const end of teardowns) await end();
  }
} else {
  const rounds = process.argv[2] ?? String(DEFAULT_ROUNDS);
  await withHost('overlay', (host) => continueInside(host, import.meta.filename, rounds));
}

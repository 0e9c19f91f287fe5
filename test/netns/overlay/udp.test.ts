/** The udp backend: packets that a thread of this process moves between TUN devices of namespaced hosts. */
import { spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { OverlayBackend, Peer } from '../../../cni/overlay/backend.ts';
import { createUdp } from '../../../cni/overlay/udp/udp.ts';
import { bindUdp } from '../../../src/linux/netns-listen.ts';
import { openTun } from '../../../src/linux/tun.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { eventually } from '../../support/eventually.ts';
import { startPeer } from '../../support/net-peer.ts';
import { createOverlaySwitch, doesReach, type OverlayHost, reaches } from '../../support/overlay-hosts.ts';

const PORT = 8285;

function open(t: ExecutionContext, host: OverlayHost, port = PORT): { backend: OverlayBackend; stop(): Promise<void> } {
  const backend = createUdp({ port }, { log: silentLogger, clock: systemClock, hostNetns: host.path });
  const controller = new AbortController();
  const running = backend.run!(controller.signal);
  const stop = async () => {
    controller.abort();
    await running;
  };
  t.teardown(async () => {
    await stop();
    backend.close();
  });
  return { backend, stop };
}

const peersOf = (...peers: Peer[]) => new Map(peers.map((peer) => [peer.node, peer]));
const ownRoutes = async (host: OverlayHost) =>
  (await host.ip('-N', 'route')).split('\n').filter((line) => line.includes('proto 191'));

test('pods reach each other through two processes; what changes, changes for the thread too', async (t) => {
  const net = await createOverlaySwitch(t);
  const [one, two] = [await net.addHost(1), await net.addHost(2)];
  const [first, second] = [open(t, one), open(t, two)];
  t.deepEqual(await first.backend.ensure(await one.self()), { mtu: 1472, data: {} });
  await second.backend.ensure(await two.self());
  t.deepEqual(await first.backend.sync(peersOf(two.peer('udp'))), { changed: 1, skipped: [] });
  await second.backend.sync(peersOf(one.peer('')));
  await eventually('the other pod', () => reaches(one.pod, '10.244.2.2'));
  t.true(await doesReach(one.pod, '10.244.2.2', 1472), 'as large a packet as the overlay says');
  t.true(await doesReach(two, '10.244.1.2'), 'from the node itself');
  t.regex(await one.ip('addr', 'show', 'flannel0'), /mtu 1472.*inet 10\.244\.1\.0\/32/s);
  t.regex((await ownRoutes(one))[0]!, /^10\.244\.2\.0\/24 dev flannel0 proto 191/);

  const [client, server] = [await startPeer(t, one.pod.path), await startPeer(t, two.pod.path)];
  await server.serve({ name: 'pod2', tcp: 80, udp: 53 });
  for (const [protocol, port] of [
    ['tcp', 80],
    ['udp', 53],
  ] as const)
    t.is(await client.ask({ protocol, host: '10.244.2.2', port }), 'pod2 10.244.1.2');

  t.deepEqual(await first.backend.sync(peersOf(two.peer('udp'))), { changed: 0, skipped: [] });
  // The peer is elsewhere, and back.
  const moved = { ...two.peer('udp'), publicIps: { 4: '192.0.2.99' } };
  await first.backend.sync(peersOf(moved), new Set(['node2']));
  t.false(await reaches(one.pod, '10.244.2.2'));
  await first.backend.sync(peersOf({ ...two.peer('udp'), node: 'node2b' }), new Set(['node2', 'node2b']));
  t.true(await doesReach(one.pod, '10.244.2.2'), 'its network, under another name');
  await first.backend.sync(peersOf(), new Set(['node2b']));
  t.deepEqual(await ownRoutes(one), []);
  t.false(await reaches(two.pod, '10.244.1.2'), 'a datagram of who is no peer goes nowhere');
});

test('the device outlives the process, is made anew when somebody deletes it, and goes at the end', async (t) => {
  const net = await createOverlaySwitch(t);
  const [one, two] = [await net.addHost(1), await net.addHost(2)];
  const [first, second] = [open(t, one), open(t, two)];
  const join = async (backend: OverlayBackend, host: OverlayHost, other: OverlayHost) => {
    await backend.ensure(await host.self());
    await backend.sync(peersOf(other.peer('udp')));
  };
  await join(first.backend, one, two);
  await join(second.backend, two, one);
  await eventually('the other pod', () => reaches(one.pod, '10.244.2.2'));
  const index = async () => (await one.ipJson<{ ifindex: number }>('link', 'show', 'flannel0'))[0]?.ifindex;
  const before = await index();
  await first.stop();
  first.backend.close();
  t.is(await index(), before);
  t.is((await ownRoutes(one)).length, 1);
  t.false(await reaches(one.pod, '10.244.2.2'));

  const next = open(t, one);
  await join(next.backend, one, two);
  await eventually('the next process', () => reaches(one.pod, '10.244.2.2'));
  t.is(await index(), before);

  await one.ip('link', 'delete', 'flannel0');
  await eventually('the next device', () => reaches(one.pod, '10.244.2.2'));
  t.not(await index(), before);
  await next.backend.remove();
  await next.backend.remove();
  t.notRegex(await one.ip('link'), /flannel/);
  t.deepEqual(await ownRoutes(one), []);
});

test('a process that ends while packets move does not wait for its thread', async (t) => {
  const one = await (await createOverlaySwitch(t)).addHost(1);
  const script = join(import.meta.dirname, '../../support/udp-exit-child.ts');
  const args = [script, one.path, JSON.stringify(await one.self()), '7'];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit'], timeout: 60_000 });
  t.deepEqual(await once(child, 'exit'), [7, null]);
});

test('R19: this node has another address: the thread speaks from there', async (t) => {
  const net = await createOverlaySwitch(t);
  const [one, two] = [await net.addHost(1), await net.addHost(2)];
  const [first, second] = [open(t, one), open(t, two)];
  const self = await one.self();
  await first.backend.ensure(self);
  await second.backend.ensure(await two.self());
  await first.backend.sync(peersOf(two.peer('udp')));
  await second.backend.sync(peersOf(one.peer('udp')));
  await eventually('the other pod', () => reaches(one.pod, '10.244.2.2'));
  await one.ip('addr', 'del', '192.0.2.1/24', 'dev', 'eth0');
  await one.ip('addr', 'add', '192.0.2.71/24', 'dev', 'eth0');
  const publicIps = { 4: '192.0.2.71' };
  await first.backend.ensure({ ...self, publicIps });
  await first.backend.sync(peersOf(two.peer('udp')));
  t.false(await reaches(one.pod, '10.244.2.2'), 'a stranger yet');
  await second.backend.sync(peersOf({ ...one.peer('udp'), publicIps }), new Set(['node1']));
  await eventually('the other pod', () => reaches(one.pod, '10.244.2.2'));
});

test("a datagram is a packet, as flannel's; peers of other backends are named", async (t) => {
  const net = await createOverlaySwitch(t);
  const [one, two] = [await net.addHost(1), await net.addHost(2)];
  // The other end by hand: answers an echo request with its reply.
  const hand = createSocket('udp4');
  t.teardown(() => hand.close());
  hand.bind({ fd: bindUdp(two.path, two.address, PORT) });
  hand.on('message', (packet, { port, address }) => {
    if (packet[9] !== 1 || packet[20] !== 8) return;
    const reply = Buffer.from(packet);
    packet.copy(reply, 12, 16, 20);
    packet.copy(reply, 16, 12, 16);
    reply[20] = 0;
    const sum = packet.readUInt16BE(22) + 0x0800;
    reply.writeUInt16BE((sum & 0xffff) + (sum >> 16), 22);
    hand.send(reply, port, address);
    t.is(port, PORT, 'from its own port');
  });
  const { backend } = open(t, one);
  await backend.ensure(await one.self());
  const { skipped } = await backend.sync(
    peersOf(
      two.peer(''),
      { ...two.peer('vxlan'), node: 'node3', podCidrs: { 4: '10.244.3.0/24' } },
      { ...two.peer('udp'), node: 'node4', podCidrs: { 6: 'fd00:4::/64' } },
      { ...two.peer('udp'), node: 'node5', podCidrs: { 4: '10.244.5.0/24' }, publicIps: {} },
    ),
  );
  t.deepEqual(skipped, [
    { node: 'node3', reason: 'its backend is vxlan, ours udp' },
    { node: 'node4', reason: 'its pods have IPv6 alone, and backend udp IPv4' },
    { node: 'node5', reason: 'it has no public IPv4 address' },
  ]);
  await eventually('the reply by hand', () => reaches(one.pod, '10.244.2.2'));
});

test('what is in the way is named', async (t) => {
  const net = await createOverlaySwitch(t);
  const one = await net.addHost(1);
  const self = await one.self();
  const backend = createUdp({ port: PORT }, { log: silentLogger, clock: systemClock, hostNetns: one.path });
  t.teardown(() => backend.close());
  await one.ip('link', 'add', 'flannel0', 'type', 'bridge');
  await t.throwsAsync(backend.ensure(self), { message: /flannel0 is of kind bridge: delete or rename it/ });
  await one.ip('link', 'delete', 'flannel0');
  await t.throwsAsync(backend.ensure({ ...self, podCidrs: { 6: 'fd00:1::/64' } }), { message: /no IPv4 pod CIDR/ });
  await t.throwsAsync(backend.ensure({ ...self, uplink: { ...self.uplink, mtu: 90 } }), {
    message: /90 bytes of MTU on eth0 leave 62/,
  });
  t.notRegex(await one.ip('link'), /flannel/);

  const errors: unknown[] = [];
  const log = { ...silentLogger, warn: (line: { err: unknown }) => errors.push(line.err) } as never;
  const other = createUdp({ port: PORT }, { log, clock: systemClock, hostNetns: one.path });
  const controller = new AbortController();
  await other.ensure(self);
  const holder = openTun('flannel0', one.path);
  const running = other.run!(controller.signal);
  await eventually('the device is taken', () => /another process has flannel0 open/.test(String(errors.at(-1))));
  closeSync(holder);
  const taken = createSocket('udp4');
  taken.bind({ fd: bindUdp(one.path, one.address, PORT) });
  await eventually('the port is taken', () => /UDP port 8285 is taken/.test(String(errors.at(-1))));
  taken.close();
  controller.abort();
  await running;
  other.close();
});

/**
 * Backend wireguard between two namespaced hosts, on a kernel that has it: run in a guest, asserts by itself, prints what it has seen.
 * A second pair is made by hand, as flanneld makes it.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { judgeWireguard, readWireguardTraffic } from '../../cli/doctor/wireguard.ts';
import type { OverlayBackend, Peer, SelfNode } from '../../cni/overlay/backend.ts';
import { readBackendFields } from '../../cni/overlay/backend-fields.ts';
import { readWireguardOptions } from '../../cni/overlay/wireguard/options.ts';
import { createWireguardBackend } from '../../cni/overlay/wireguard/wireguard.ts';
import { run } from '../../src/linux/exec.ts';
import { openWireguard } from '../../src/linux/netlink/wireguard.ts';
import { generatePrivateKey, publicKeyOf } from '../../src/linux/wireguard-key.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { silentLogger } from '../../src/runtime/log.ts';

const folder = mkdtempSync(join(tmpdir(), 'wireguard-'));
const netns = (name: string) => `/run/netns/${name}`;
const ip = async (name: string, ...args: string[]) => (await run('ip', ['-n', name, ...args])).stdout;
const said = (line: string) => process.stdout.write(`${line}\n`);
const canPing = (from: string, to: string) =>
  run('busybox', ['ping', '-c1', '-W3', to], { netns: netns(from) }).then(
    () => true,
    () => false,
  );

interface Member {
  name: string;
  self: SelfNode;
  podIps: Record<4 | 6, string>;
}

/** Namespaces `node<number>` and `pod<number>`; nodes share the switch in `wire`. */
async function createMember(number: number): Promise<Member> {
  const [host, pod] = [`node${number}`, `pod${number}`];
  await run('ip', ['netns', 'add', host]);
  await run('ip', ['netns', 'add', pod]);
  await ip(host, 'link', 'set', 'lo', 'up');
  await ip(host, ...['link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', `port${number}`, 'netns', 'wire']);
  await ip('wire', 'link', 'set', `port${number}`, 'master', 'switch', 'up');
  await ip(host, 'addr', 'add', `192.0.2.${number}/24`, 'dev', 'eth0');
  await ip(host, 'addr', 'add', `2001:db8::${number}/64`, 'dev', 'eth0', 'nodad');
  await ip(host, 'link', 'set', 'eth0', 'up');
  await ip(pod, ...['link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'veth0', 'netns', host]);
  const podIps = { 4: `10.244.${number}.2`, 6: `fd00:244:${number}::2` };
  for (const [where, link, end] of [
    [host, 'veth0', 1],
    [pod, 'eth0', 2],
  ] as const) {
    await ip(where, 'addr', 'add', `10.244.${number}.${end}/24`, 'dev', link);
    await ip(where, 'addr', 'add', `fd00:244:${number}::${end}/64`, 'dev', link, 'nodad');
    await ip(where, 'link', 'set', link, 'up');
  }
  await ip(pod, 'route', 'add', 'default', 'via', `10.244.${number}.1`);
  await ip(pod, '-6', 'route', 'add', 'default', 'via', `fd00:244:${number}::1`);
  for (const key of ['net.ipv4.ip_forward', 'net.ipv6.conf.all.forwarding'])
    await run('busybox', ['sysctl', '-w', `${key}=1`], { netns: netns(host) });
  const [{ ifindex }] = JSON.parse(await ip(host, '-j', 'link', 'show', 'eth0'));
  const self = {
    name: host,
    podCidrs: { 4: `10.244.${number}.0/24`, 6: `fd00:244:${number}::/64` },
    publicIps: { 4: `192.0.2.${number}`, 6: `2001:db8::${number}` },
    uplink: { name: 'eth0', index: ifindex, mtu: 1500 },
  };
  return { name: host, self, podIps };
}

function backendOf({ name }: Member, options: Record<string, unknown>): OverlayBackend {
  const fields = readBackendFields({ PrivateKeyFile: join(folder, `${name}-key`), ...options }, 'test');
  return createWireguardBackend(readWireguardOptions(fields), {
    log: silentLogger,
    clock: systemClock,
    hostNetns: netns(name),
  });
}

const peerOf = ({ name, self }: Member, data: Peer['backendData']): Peer => ({
  node: name,
  podCidrs: self.podCidrs,
  publicIps: self.publicIps,
  backendType: 'wireguard',
  backendData: data,
});

await run('ip', ['netns', 'add', 'wire']);
await ip('wire', 'link', 'add', 'switch', 'type', 'bridge');
await ip('wire', 'link', 'set', 'switch', 'up');
const [one, other] = [await createMember(1), await createMember(2)] as const;
const before = await ip('node1', '-4', 'route');

for (const mode of ['separate', 'auto', 'ipv6'] as const) {
  const presharedKey = generatePrivateKey();
  const options = { Mode: mode, PSK: presharedKey, PersistentKeepaliveInterval: 25 };
  const backends = [one, other].map((member) => backendOf(member, options));
  const ready = await Promise.all([backends[0]!.ensure(one.self), backends[1]!.ensure(other.self)]);
  assert.equal(ready[0]!.mtu, 1420);
  const peers = [peerOf(one, ready[0]!.data), peerOf(other, ready[1]!.data)] as const;
  const toOther = new Map([[other.name, peers[1]]]);
  const toOne = new Map([[one.name, peers[0]]]);
  const first = await backends[0]!.sync(toOther);
  assert.deepEqual(first.skipped, []);
  await backends[1]!.sync(toOne);
  for (const family of [4, 6] as const) {
    assert.ok(await canPing('pod1', other.podIps[family]), `mode ${mode}: IPv${family} from pod to pod`);
    assert.ok(await canPing('node1', other.podIps[family]), `mode ${mode}: IPv${family} from node to pod`);
  }
  assert.equal((await backends[0]!.sync(toOther)).changed, 0, 'a full sync that finds all in place writes nothing');

  const wireguard = (await openWireguard(netns('node1')))!;
  const device = await wireguard.getDevice('flannel-wg');
  assert.equal(device.listenPort, 51_820);
  assert.equal(device.publicKey, (ready[0]!.data[4] as { PublicKey: string }).PublicKey);
  assert.equal(device.peers[0]!.presharedKey, presharedKey);
  assert.equal(device.peers[0]!.keepaliveSeconds, 25);
  assert.ok(device.peers[0]!.lastHandshakeSeconds > 0 && device.peers[0]!.receivedBytes > 0);
  const cidrs = mode === 'separate' ? ['10.244.2.0/24'] : ['10.244.2.0/24', 'fd00:244:2::/64'];
  assert.deepEqual([...device.peers[0]!.allowedIps].toSorted(), cidrs);
  assert.equal(device.peers[0]!.endpoint!.address, mode === 'ipv6' ? '2001:db8::2' : '192.0.2.2');
  const links = JSON.parse(await ip('node1', '-j', '-d', 'link')) as { ifname: string; mtu: number }[];
  const own = links.filter(({ ifname }) => ifname.startsWith('flannel-wg'));
  assert.deepEqual(
    own.map(({ ifname, mtu }) => `${ifname} ${mtu}`).toSorted(),
    mode === 'separate' ? ['flannel-wg 1420', 'flannel-wg-v6 1420'] : ['flannel-wg 1420'],
  );
  assert.match(await ip('node1', 'addr', 'show', 'flannel-wg'), /inet 10\.244\.1\.0\/32/);
  assert.match(await ip('node1', 'route'), /10\.244\.2\.0\/24 dev flannel-wg proto 191 scope link/);
  assert.equal(statSync(join(folder, 'node1-key')).mode & 0o777, 0o600);
  said(`mode ${mode}: pods of both families reach each other`);

  if (mode === 'separate') {
    // A process that starts anew goes on with device and key.
    backends[0]!.close();
    backends[0] = backendOf(one, options);
    assert.deepEqual((await backends[0]!.ensure(one.self)).data, ready[0]!.data);
    assert.equal((await backends[0]!.sync(toOther)).changed, 0);
    // Somebody takes the peer away, another deletes the device.
    await wireguard.setDevice('flannel-wg', { remove: [device.peers[0]!.publicKey] });
    assert.equal((await backends[0]!.sync(toOther)).changed, 1);
    assert.ok(await canPing('pod1', other.podIps[4]));
    const controller = new AbortController();
    const running = backends[0]!.run!(controller.signal);
    await systemClock.sleep(300);
    await ip('node1', 'link', 'delete', 'flannel-wg');
    for (let look = 0; look < 100 && !(await ip('node1', 'route')).includes('flannel-wg'); look++)
      await systemClock.sleep(200);
    assert.ok(await canPing('pod1', other.podIps[4]), 'the device is made anew with its peers');
    controller.abort();
    await running;
    // The peer has another key (its host was booted anew), then another address, then it is gone.
    const key = publicKeyOf(generatePrivateKey());
    const moved = { ...peers[1], publicIps: { 4: '192.0.2.77', 6: '2001:db8::77' } };
    moved.backendData = { 4: { PublicKey: key }, 6: { PublicKey: key } };
    await backends[0]!.sync(new Map([[other.name, moved]]), new Set([other.name]));
    const now = (await wireguard.getDevice('flannel-wg')).peers;
    assert.deepEqual(
      now.map(({ publicKey, endpoint }) => [publicKey, endpoint!.address]),
      [[key, '192.0.2.77']],
    );
    const twin = { ...moved, node: 'twin', podCidrs: { 4: '10.244.9.0/24' } };
    const clash = await backends[0]!.sync(
      new Map([...toOther, [other.name, moved], ['twin', twin]]),
      new Set(['twin']),
    );
    assert.match(clash.skipped[0]!.reason, /its public key is also that of node node2/);
    // Two hundred of them: more than a message holds.
    const many = new Map(
      Array.from({ length: 200 }, (_, index) => {
        const PublicKey = publicKeyOf(generatePrivateKey());
        const podCidrs = { 4: `10.245.${index}.0/24`, 6: `fd00:245:${index}::/64` };
        const peer = { ...peers[1], node: `n${index}`, podCidrs, backendData: { 4: { PublicKey }, 6: { PublicKey } } };
        return [peer.node, peer] as const;
      }),
    );
    await backends[0]!.sync(many);
    assert.equal((await wireguard.getDevice('flannel-wg')).peers.length, 200);
    assert.equal((await backends[0]!.sync(many)).changed, 0);
    await backends[0]!.sync(new Map(), new Set(many.keys()));
    assert.deepEqual((await wireguard.getDevice('flannel-wg')).peers, []);
    said('restart, repair, key change, address change, a key twice, 200 peers');
  }
  wireguard.close();
  for (const backend of backends) {
    await backend.remove();
    await backend.remove();
    backend.close();
  }
  assert.equal(await ip('node1', '-4', 'route'), before);
  assert.ok(!(await ip('node1', 'link')).includes('flannel'));
}

// flannel's side by hand: one device, one route for all pods, keys from a file of its own.
const ours = backendOf(one, {});
const flannelKey = generatePrivateKey();
const mine = await ours.ensure(one.self);
await ip('node2', 'link', 'add', 'flannel-wg', 'type', 'wireguard');
const theirs = (await openWireguard(netns('node2')))!;
const us = {
  publicKey: (mine.data[4] as { PublicKey: string }).PublicKey,
  endpoint: { address: '192.0.2.1', port: 51_820 },
  keepaliveSeconds: 0,
  allowedIps: ['10.244.1.0/24'],
};
await theirs.setDevice('flannel-wg', { privateKey: flannelKey, listenPort: 51_820, put: [us] });
await ip('node2', 'addr', 'add', '10.244.2.0/32', 'dev', 'flannel-wg');
await ip('node2', 'link', 'set', 'flannel-wg', 'mtu', '1420', 'up');
await ip('node2', 'route', 'add', '10.244.0.0/16', 'dev', 'flannel-wg');
const flannelPeer = peerOf(other, { 4: { PublicKey: publicKeyOf(flannelKey) } });
const flannelPeers = new Map([[other.name, { ...flannelPeer, podCidrs: { 4: '10.244.2.0/24' } }]]);
await ours.sync(flannelPeers);
assert.ok((await canPing('pod1', other.podIps[4])) && (await canPing('pod2', one.podIps[4])), 'flannel interop');
said('a peer made by hand as flanneld makes it');

// What the doctor says of it.
const examine = async () => {
  const traffic = await readWireguardTraffic(['flannel-wg'], { clock: systemClock, netns: netns('node1') });
  return judgeWireguard(traffic, [...flannelPeers.values()]).map(({ state, detail }) => `${state}: ${detail}`);
};
/** Without the session of before. */
const startAnew = async (theirChange: object) => {
  await ours.sync(new Map());
  await theirs.setDevice('flannel-wg', { remove: [us.publicKey] });
  await theirs.setDevice('flannel-wg', { put: [{ ...us, ...theirChange }] });
  await ours.sync(flannelPeers);
};
assert.deepEqual(await examine(), ['ok: 1 of 1 in use, the others have nothing to send']);
await startAnew({ presharedKey: generatePrivateKey() });
// They ask: who asks first hears nothing, and the other one does not ask.
assert.ok(!(await canPing('pod2', one.podIps[4])));
assert.deepEqual(await examine(), [
  'problem: node2 (never): its packets arrive, and no session comes of it: another preshared key',
]);
await startAnew({});
await ip('node2', 'link', 'set', 'flannel-wg', 'down');
assert.ok(!(await canPing('pod1', other.podIps[4])));
assert.deepEqual(await examine(), ['problem: node2 (never): packets are sent, and no answer comes']);
said('the doctor tells another preshared key from a closed port');
writeFileSync(join(folder, 'node1-key'), 'nonsense');
await assert.rejects(ours.ensure(one.self), /has no private key/);
assert.equal(readFileSync(join(folder, 'node1-key'), 'utf8'), 'nonsense');
await ours.remove();
said('all done');
process.exit(0);

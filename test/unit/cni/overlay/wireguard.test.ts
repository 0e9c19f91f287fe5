import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import type { Peer, SelfNode } from '../../../../cni/overlay/backend.ts';
import { readBackendFields } from '../../../../cni/overlay/backend-fields.ts';
import { readWireguardOptions } from '../../../../cni/overlay/wireguard/options.ts';
import { computeDevices, computeMtu, computePeer, diffPeers } from '../../../../cni/overlay/wireguard/plan.ts';
import { ensurePrivateKey } from '../../../../cni/overlay/wireguard/private-key.ts';
import {
  decodeWireguardDevice,
  encodeWireguardChange,
  type WireguardPeer,
} from '../../../../src/linux/netlink/wireguard-messages.ts';
import { generatePrivateKey, isWireguardKey, publicKeyOf } from '../../../../src/linux/wireguard-key.ts';

const KEY = publicKeyOf(generatePrivateKey());
const SELF: SelfNode = {
  name: 'node-1',
  podCidrs: { 4: '10.244.1.0/24', 6: 'fd00:244:1::/64' },
  publicIps: { 4: '192.0.2.1', 6: '2001:db8::1' },
  uplink: { name: 'eth0', index: 2, mtu: 1500 },
};
const PEER: Peer = {
  node: 'node-2',
  podCidrs: { 4: '10.244.2.0/24', 6: 'fd00:244:2::/64' },
  publicIps: { 4: '192.0.2.2', 6: '2001:db8::2' },
  backendType: 'wireguard',
  backendData: { 4: { PublicKey: KEY }, 6: { PublicKey: KEY } },
};
const options = (raw: Record<string, unknown> = {}) => readWireguardOptions(readBackendFields(raw, 'net-conf.json'));

test('keys', (t) => {
  const privateKey = generatePrivateKey();
  t.true(isWireguardKey(privateKey));
  t.is(publicKeyOf(privateKey), publicKeyOf(privateKey), 'of the private key alone');
  t.not(generatePrivateKey(), privateKey);
  for (const bad of ['short', `${KEY}=`, 5, undefined, KEY.replace('=', '!')]) t.false(isWireguardKey(bad));
});

test('the private key is made once, private, and never overwritten', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'wireguard-unit-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'flannel/wgkey');
  const key = ensurePrivateKey(file);
  t.is(statSync(file).mode & 0o777, 0o600);
  t.is(ensurePrivateKey(file), key);
  writeFileSync(file, 'nonsense');
  t.throws(() => ensurePrivateKey(file), { message: /has no private key/ });
  t.is(readFileSync(file, 'utf8'), 'nonsense');
});

test('devices by mode', (t) => {
  const names = (mode: string, self = SELF) =>
    computeDevices(self, options({ Mode: mode })).map(
      ({ name, listenPort, carries, over }) => `${name} ${listenPort} ${carries} over ${over}`,
    );
  t.deepEqual(names('separate'), ['flannel-wg 51820 4 over 4', 'flannel-wg-v6 51821 6 over 6']);
  t.deepEqual(names('auto'), ['flannel-wg 51820 4,6 over 4,6']);
  t.deepEqual(names('ipv6'), ['flannel-wg 51820 4,6 over 6']);
  const old = { ...SELF, podCidrs: { 4: '10.244.1.0/24' }, publicIps: { 4: '192.0.2.1' } };
  t.deepEqual(names('separate', old), ['flannel-wg 51820 4 over 4']);
  t.throws(() => names('ipv6', old), { message: /no address for Mode ipv6/ });
  t.throws(() => names('separate', { ...old, publicIps: { 6: '2001:db8::1' } }), { message: /of the same family/ });
});

test('MTU: 80 bytes less, and never more than the uplink has', (t) => {
  t.is(computeMtu(SELF, options()), 1420);
  t.is(computeMtu(SELF, options({ MTU: 1400 })), 1320);
  t.is(computeMtu(SELF, options({ MTU: 9000 })), 1420);
  t.throws(() => computeMtu({ ...SELF, uplink: { ...SELF.uplink, mtu: 1300 } }, options()), {
    message: /1280 are needed/,
  });
});

test('a node as a peer, and why not', (t) => {
  const [separate] = computeDevices(SELF, options());
  const [auto] = computeDevices(SELF, options({ Mode: 'auto' }));
  t.deepEqual(computePeer(separate!, PEER, options({ PersistentKeepaliveInterval: 25 })), {
    publicKey: KEY,
    endpoint: { address: '192.0.2.2', port: 51_820 },
    keepaliveSeconds: 25,
    allowedIps: ['10.244.2.0/24'],
  });
  t.like(computePeer(auto!, { ...PEER, publicIps: { 6: '2001:db8::2' } }, options()), {
    endpoint: { address: '2001:db8::2', port: 51_820 },
    allowedIps: ['10.244.2.0/24', 'fd00:244:2::/64'],
  });
  t.is(computePeer(separate!, { ...PEER, podCidrs: { 6: 'fd00::/64' } }, options()), undefined);
  for (const [more, reason] of [
    [{ backendType: 'vxlan' }, /its overlay is vxlan/],
    [{ publicIps: { 6: '2001:db8::2' } }, /it has no IPv4 address, which flannel-wg goes by/],
    [{ backendData: { 4: null } }, /no PublicKey of 32 bytes/],
    [{ backendData: { 4: { PublicKey: 'x' } } }, /no PublicKey of 32 bytes/],
  ] as [Partial<Peer>, RegExp][])
    t.regex((computePeer(separate!, { ...PEER, ...more }, options()) as { reason: string }).reason, reason);
  t.deepEqual(computePeer(separate!, PEER, options(), KEY), { reason: "its public key is this node's own too" });
});

test('differences: where a peer has moved by itself is left alone, what we want otherwise is written', (t) => {
  const peer: WireguardPeer = {
    publicKey: KEY,
    endpoint: { address: '192.0.2.2', port: 51_820 },
    keepaliveSeconds: 0,
    allowedIps: ['10.244.2.0/24'],
  };
  const have = { ...peer, lastHandshakeSeconds: 1, receivedBytes: 1, sentBytes: 1 };
  const written = new Map([[KEY, peer]]);
  const roamed = { ...have, endpoint: { address: '198.51.100.9', port: 4000 } };
  t.deepEqual(diffPeers([peer], [have], new Map()), { put: [], remove: [] });
  t.deepEqual(diffPeers([peer], [], new Map()), { put: [peer], remove: [] });
  t.deepEqual(diffPeers([peer], [roamed], written), { put: [], remove: [] });
  t.deepEqual(diffPeers([peer], [roamed], new Map()).put, [peer], 'after a restart its annotation counts');
  const moved = { ...peer, endpoint: { address: '192.0.2.3', port: 51_820 } };
  t.deepEqual(diffPeers([moved], [have], written).put, [moved]);
  const { endpoint: _, ...rest } = { ...peer, allowedIps: ['10.244.7.0/24'] };
  t.deepEqual(diffPeers([{ ...peer, allowedIps: ['10.244.7.0/24'] }], [roamed], written).put, [rest]);
  t.deepEqual(diffPeers([], [have], written).remove, [KEY]);
});

test('messages: what is written is what is read', (t) => {
  const peers: WireguardPeer[] = [
    {
      publicKey: KEY,
      presharedKey: KEY,
      endpoint: { address: '192.0.2.2', port: 1 },
      keepaliveSeconds: 25,
      allowedIps: ['10.1.0.0/16', 'fd00::/64'],
    },
    {
      publicKey: publicKeyOf(generatePrivateKey()),
      endpoint: { address: '2001:db8::2', port: 65_535 },
      keepaliveSeconds: 0,
      allowedIps: [],
    },
  ];
  const body = Buffer.concat([
    Buffer.alloc(4),
    ...encodeWireguardChange('flannel-wg', { listenPort: 51_820, put: peers }).flat(),
  ]);
  const read = decodeWireguardDevice([body]);
  t.is(read.listenPort, 51_820);
  const none = { lastHandshakeSeconds: 0, receivedBytes: 0, sentBytes: 0 };
  t.deepEqual(
    read.peers,
    peers.map((one) => ({ ...one, ...none })),
  );
  // A peer of many addresses goes on in the next message.
  t.is(decodeWireguardDevice([body, body.subarray()]).peers.length, 4);
  const one = (allowed: string) =>
    Buffer.concat([
      Buffer.alloc(4),
      ...encodeWireguardChange('x', { put: [{ ...peers[0]!, allowedIps: [allowed] }] }).flat(),
    ]);
  t.deepEqual(decodeWireguardDevice([one('10.1.0.0/16'), one('10.2.0.0/16')]).peers[0]!.allowedIps, [
    '10.1.0.0/16',
    '10.2.0.0/16',
  ]);
  t.throws(() => encodeWireguardChange('x', { privateKey: 'short' }), { message: /32 bytes/ });
});

for (const [raw, message] of [
  [{ PSK: 'secret' }, /Backend\.PSK: is not 32 bytes in base64/],
  [{ Mode: 'both' }, /Backend\.Mode: "both" is not one of separate, auto, ipv4, ipv6/],
  [{ ListenPort: 70_000 }, /Backend\.ListenPort: 70000/],
] as [Record<string, unknown>, RegExp][])
  test(`refused by name: ${Object.keys(raw)}`, (t) => {
    const error = t.throws(() => options(raw), { message });
    t.false(error!.message.includes('secret'));
  });

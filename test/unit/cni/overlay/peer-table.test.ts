import { isDeepStrictEqual } from 'node:util';
import test from 'ava';
import {
  annotationKeys,
  diffAnnotations,
  parsePeer,
  readOverwrites,
  slimNode,
} from '../../../../cni/overlay/annotations.ts';
import { createPeerTable } from '../../../../cni/overlay/peer-table.ts';
import type { Node } from '../../../../src/kube/types.ts';
import { networkOf, parsePrefix, prefixesOverlap } from '../../../../src/linux/ip.ts';
import { draftNode, type NodeFacts } from '../../../support/overlay-nodes.ts';
import { createRandom } from '../../../support/random.ts';

const keys = annotationKeys();
const OWN = { podCidrs: { 4: '10.244.1.0/24' }, uplinkSubnets: ['192.0.2.0/24'] };

function setUp(backendType = 'vxlan') {
  const table = createPeerTable({ self: 'me', backendType, keys, networks: { 4: '0.0.0.0/0' } });
  table.setOwn(OWN);
  const put = (name: string, facts: NodeFacts) => [...table.put(draftNode(name, facts))];
  return { table, put };
}

const plain = (number: number): NodeFacts => ({
  podCidrs: [`10.244.${number}.0/24`],
  internalIps: [`192.0.2.${number}`],
});
const annotated = (number: number, more: Record<string, string> = {}): NodeFacts => ({
  podCidrs: [`10.244.${number}.0/24`],
  internalIps: ['198.51.100.1'],
  annotations: {
    [keys.managed]: 'true',
    [keys.type]: 'vxlan',
    [keys.publicIp[4]]: `192.0.2.${number}`,
    [keys.data[4]]: '{"VNI":1,"VtepMAC":"aa:bb:cc:dd:ee:ff"}',
    ...more,
  },
});

test('a peer by its annotations, and one without by its InternalIPs', (t) => {
  const { table, put } = setUp();
  t.deepEqual(put('b', annotated(2)), ['b']);
  t.deepEqual(put('c', plain(3)), ['c']);
  t.deepEqual(table.peers.get('b'), {
    node: 'b',
    podCidrs: { 4: '10.244.2.0/24' },
    publicIps: { 4: '192.0.2.2' },
    backendType: 'vxlan',
    backendData: { 4: { VNI: 1, VtepMAC: 'aa:bb:cc:dd:ee:ff' } },
  });
  t.deepEqual(table.peers.get('c')?.publicIps, { 4: '192.0.2.3' });
  t.is(table.peers.get('c')?.backendType, undefined);
});

test('only what an overlay reads is a change; a node without address or pod CIDR is none yet', (t) => {
  const { table, put } = setUp();
  t.deepEqual(put('b', { internalIps: ['192.0.2.2'] }), []);
  t.deepEqual(put('b', { podCidrs: ['10.244.2.0/24'] }), []);
  t.deepEqual(put('b', plain(2)), ['b']);
  t.deepEqual(put('b', plain(2)), [], 'a heartbeat');
  t.deepEqual(put('b', { ...plain(2), internalIps: ['192.0.2.9'] }), ['b']);
  t.deepEqual(put('me', plain(7)), [], 'this node is no peer');
  t.deepEqual([...table.remove('b')], ['b']);
  t.deepEqual([...table.remove('b')], []);
  t.is(table.peers.size, 0);
  t.deepEqual(table.skipped(), []);
});

for (const [what, facts, reason] of [
  ['of another backend', annotated(2, { [keys.type]: 'host-gw' }), 'it has the backend host-gw, this node vxlan'],
  ['with data that is no JSON', annotated(2, { [keys.data[4]]: '{' }), /backend-data is no JSON: "\{"/],
  [
    'with an address that is none',
    annotated(2, { [keys.publicIp[4]]: 'nowhere' }),
    /public-ip is no IPv4 address: "nowhere"/,
  ],
  ['with a pod CIDR that is none', { ...plain(2), podCidrs: ['10.244.2'] }, /"10\.244\.2" is no CIDR/],
  [
    'with two CIDRs of a family',
    { ...plain(2), podCidrs: ['10.244.2.0/24', '10.244.3.0/24'] },
    /two pod CIDRs of one family/,
  ],
  ['whose pods are at its own address', { ...plain(2), podCidrs: ['192.0.2.0/29'] }, /lies within its own pod CIDR/],
  ['with our pod CIDR', { ...plain(1), internalIps: ['192.0.2.9'] }, /clashes with 10\.244\.1\.0\/24 of this node/],
  [
    'whose pods hold our pods',
    { ...plain(2), podCidrs: ['10.0.0.0/8'] },
    /clashes with 10\.244\.1\.0\/24 of this node/,
  ],
  ['that would take our wire', { ...plain(2), podCidrs: ['192.0.2.128/25'] }, /of this node's uplink/],
] as [string, NodeFacts, string | RegExp][])
  test(`a node ${what} is skipped, with the reason`, (t) => {
    const { table, put } = setUp();
    t.deepEqual(put('b', facts), []);
    const [{ node, reason: said } = { node: '', reason: '' }] = table.skipped();
    t.is(node, 'b');
    if (typeof reason === 'string') t.is(said, reason);
    else t.regex(said, reason);
    t.deepEqual(put('b', annotated(3)), ['b'], 'and comes back when it is mended');
    t.deepEqual(table.skipped(), []);
  });

test('who was there first keeps its pods, whoever is seen first; and the next in line inherits them', (t) => {
  const { table, put } = setUp('host-gw');
  const born = (day: number, facts: NodeFacts): NodeFacts => ({
    ...facts,
    creationTimestamp: `2026-01-0${day}T00:00:00Z`,
  });
  const half = { ...plain(9), podCidrs: ['10.244.2.128/25'] };
  t.deepEqual(put('young', born(2, half)), ['young']);
  t.deepEqual(put('old', born(1, plain(2))).toSorted(), ['old', 'young'], 'the elder takes them');
  t.deepEqual([...table.peers.keys()], ['old']);
  t.is(table.skipped()[0]!.reason, 'its pod CIDR 10.244.2.128/25 clashes with 10.244.2.0/24 of node old');
  t.deepEqual(put('third', born(3, plain(2))), []);
  t.deepEqual([...table.remove('old')].toSorted(), ['old', 'young']);
  t.deepEqual([...table.peers.keys()], ['young']);
  t.deepEqual(put('young', born(2, plain(5))).toSorted(), ['third', 'young']);
});

test('pods outside of the pods’ network: a node that says so would be given Services’ packets, or everybody’s', (t) => {
  const table = createPeerTable({ self: 'me', backendType: 'host-gw', keys, networks: { 4: '10.244.0.0/16' } });
  table.setOwn(OWN);
  for (const cidr of ['10.96.0.0/12', '198.51.100.0/24', '10.244.0.0/15']) {
    t.deepEqual([...table.put(draftNode('b', { ...plain(2), podCidrs: [cidr] }))], []);
    t.regex(table.skipped()[0]!.reason, /is not within 10\.244\.0\.0\/16, the pods' network of this node/);
  }
  const both = { ...plain(2), podCidrs: ['10.244.2.0/24', 'fd00:1::/64'] };
  t.deepEqual([...table.put(draftNode('b', both))], ['b'], 'a family that this node has not is not looked at');
});

for (const ip of [
  '127.0.0.1',
  '0.0.0.0',
  '224.0.0.1',
  '255.255.255.255',
  '::1',
  '::ffff:192.0.2.2',
  'fe80::2',
  'ff02::1',
])
  test(`nobody is at ${ip}`, (t) => {
    const { table, put } = setUp();
    const family = ip.includes(':') ? 6 : 4;
    put('b', { ...annotated(2, { [keys.publicIp[family]]: ip }), podCidrs: ['10.244.2.0/24', 'fd00:2::/64'] });
    t.regex(table.skipped()[0]!.reason, /can be no other node's/);
    put('b', { podCidrs: ['10.244.2.0/24'], internalIps: [ip] });
    t.regex(table.skipped()[0]!.reason, /can be no other node's/);
  });

test('a LAN that holds the pods’ network too takes no node’s pods', (t) => {
  const table = createPeerTable({ self: 'me', backendType: 'host-gw', keys, networks: { 4: '10.244.0.0/16' } });
  table.setOwn({ ...OWN, uplinkSubnets: ['10.0.0.0/8'] });
  t.deepEqual([...table.put(draftNode('b', { ...plain(2), internalIps: ['10.0.0.2'] }))], ['b']);
});

test('what a hostile node writes is its own trouble: depth, length', (t) => {
  const { table, put } = setUp();
  const deep = (levels: number) => annotated(2, { [keys.data[4]]: '['.repeat(levels) + ']'.repeat(levels) });
  for (const levels of [500, 600, 120_000]) {
    put('b', deep(levels));
    put('b', deep(levels)); // compared with what was said before
    t.is(table.skipped().length, levels === 500 ? 0 : 1);
  }
  const long = 'x'.repeat(200_000);
  for (const facts of [
    annotated(2, { [keys.data[4]]: `"${long}"` }),
    annotated(2, { [keys.publicIp[4]]: long }),
    annotated(2, { [keys.type]: long }),
    { podCidrs: ['10.244.2.0/24'], internalIps: [long] },
  ]) {
    put('b', facts);
    t.true(table.skipped()[0]!.reason.length < 300, table.skipped()[0]!.reason.slice(0, 300));
  }
});

test('whatever comes, changes and goes in whatever order: the oldest have their pods, as if all had been seen at once', (t) => {
  const random = createRandom(77);
  const { table } = setUp('host-gw');
  const there = new Map<string, Node>();
  const byAge = (one: Node, other: Node) => (ageOf(one) < ageOf(other) ? -1 : 1);
  const ageOf = ({ metadata }: Node) => `${metadata.creationTimestamp} ${metadata.name}`;
  for (let step = 0; step < 600; step++) {
    const name = `n${random.below(12)}`;
    const before = new Map(table.peers);
    const known = there.get(name);
    let told: Set<string>;
    if (known && random.isTrue(0.25)) {
      there.delete(name);
      told = table.remove(name);
    } else {
      const node = draftNode(name, {
        podCidrs: [`10.244.${random.below(16)}.0/${22 + random.below(4)}`],
        internalIps: [`192.0.2.${random.below(9) + 2}`],
        creationTimestamp: known?.metadata.creationTimestamp ?? `2026-01-01T00:00:${10 + random.below(40)}Z`,
      });
      there.set(name, node);
      told = table.put(node);
    }
    const taken = [parsePrefix(OWN.podCidrs[4])];
    const admitted = [...there.values()].toSorted(byAge).filter(({ spec }) => {
      const prefix = networkOf(parsePrefix(spec!.podCIDR!));
      const isFree = !taken.some((one) => prefixesOverlap(one, prefix));
      if (isFree) taken.push(prefix);
      return isFree;
    });
    t.deepEqual([...table.peers.keys()].toSorted(), admitted.map(({ metadata }) => metadata.name).toSorted());
    t.is(table.skipped().length, there.size - admitted.length);
    const names = [...new Set([...before.keys(), ...table.peers.keys()])];
    const differing = names.filter((one) => !isDeepStrictEqual(before.get(one), table.peers.get(one)));
    t.deepEqual([...told].toSorted(), differing.toSorted(), `who is told at step ${step}`);
  }
});

test('own facts that change are looked at again', (t) => {
  const { table, put } = setUp('host-gw');
  put('b', plain(2));
  t.deepEqual([...table.setOwn({ ...OWN, podCidrs: { 4: '10.244.2.0/24' } })], ['b']);
  t.is(table.skipped().length, 1);
  t.deepEqual([...table.setOwn(OWN)], ['b']);
  t.deepEqual([...table.setOwn(structuredClone(OWN))], []);
});

test('a change among many costs itself: the others’ objects are not looked at', (t) => {
  const { table, put } = setUp('host-gw');
  for (let number = 2; number < 202; number++)
    put(`n${number}`, { podCidrs: [`10.244.${number}.0/24`], internalIps: [`198.51.100.${number}`] });
  const others = [...table.peers.values()].filter(({ node }) => node !== 'n7');
  t.deepEqual(put('n7', { podCidrs: ['10.244.7.0/24'], internalIps: ['198.51.100.207'] }), ['n7']);
  t.true(others.every((peer) => table.peers.get(peer.node) === peer));
});

test('annotations: what is missing or differs is written, what is no more is taken away, a person’s overwrite stands above ours', (t) => {
  const want = { backendType: 'vxlan', publicIps: { 4: '192.0.2.1' }, data: { 4: { VNI: 1 } } };
  const all = {
    [keys.managed]: 'true',
    [keys.type]: 'vxlan',
    [keys.publicIp[4]]: '192.0.2.1',
    [keys.data[4]]: '{"VNI":1}',
  };
  t.deepEqual(diffAnnotations(undefined, want, keys), all);
  t.deepEqual(diffAnnotations({ ...all, other: 'x' }, want, keys), {});
  t.deepEqual(diffAnnotations({ ...all, [keys.data[6]]: 'null', [keys.publicIp[6]]: '2001:db8::1' }, want, keys), {
    [keys.data[6]]: null,
    [keys.publicIp[6]]: null,
  });
  t.deepEqual(diffAnnotations({ ...all, [keys.overwrite[4]]: '203.0.113.1' }, want, keys), {
    [keys.publicIp[4]]: '203.0.113.1',
  });
  t.is(diffAnnotations(undefined, { ...want, backendType: 'host-gw', data: {} }, keys)[keys.data[4]], 'null');
});

test('a person’s overwrite that is no other node’s address is passed over, and named', (t) => {
  const want = { backendType: 'host-gw', publicIps: { 4: '192.0.2.1' }, data: {} };
  for (const [text, problem] of [
    ['198.51.100.7', undefined],
    ['nowhere', /public-ip-overwrite is no IPv4 address: "nowhere"/],
    ['2001:db8::1', /is no IPv4 address/],
    ['127.0.0.1', /127\.0\.0\.1 can be no other node's/],
  ] as [string, RegExp | undefined][]) {
    const have = { [keys.overwrite[4]]: text };
    t.is(diffAnnotations(have, want, keys)[keys.publicIp[4]], problem ? '192.0.2.1' : text);
    if (problem) t.regex(readOverwrites(have, keys).problems.join(), problem);
    else t.deepEqual(readOverwrites(have, keys).problems, []);
  }
});

test('annotation prefixes as flanneld takes them', (t) => {
  t.is(annotationKeys('example.com').type, 'example.com/backend-type');
  t.is(annotationKeys('example.com/blue').type, 'example.com/blue-backend-type');
  t.is(annotationKeys('example.com/blue-').type, 'example.com/blue-backend-type');
  for (const bad of ['', 'Example.com', 'a/b/c', 'nodots'])
    t.throws(() => annotationKeys(bad), { message: /--kube-annotation-prefix/ });
});

test('a slim node says the same', (t) => {
  const node = draftNode('b', annotated(2));
  t.deepEqual(parsePeer(slimNode(node), keys), parsePeer(node, keys));
});

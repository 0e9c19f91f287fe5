import test from 'ava';
import { matchLocal, resolveLocalDetector } from '../../../proxy/local-detector.ts';
import { resolveNodePortTargets } from '../../../proxy/node-addresses.ts';
import { nodeIpsOf, readOwnNode, UNKNOWN_NODE } from '../../../proxy/own-node.ts';
import { computeConntrackSysctls, createSysctlApplier, ensureSysctls } from '../../../proxy/sysctls.ts';
import type { Node } from '../../../src/kube/types.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { proxyConfig } from '../../support/proxy-world.ts';

test('conntrack settings of the defaults', (t) => {
  const settings = computeConntrackSysctls(proxyConfig().conntrack, 8);
  t.deepEqual(
    settings.map(({ key, value }) => [key.replace('net.netfilter.nf_conntrack_', ''), value]),
    [
      ['max', 262_144],
      ['tcp_timeout_established', 86_400],
      ['tcp_timeout_close_wait', 3600],
    ],
  );
  t.is(computeConntrackSysctls(proxyConfig().conntrack, 1)[0]?.value, 131_072, 'the minimum');
});

test('only what differs is written; the table is only ever enlarged; a refusal is reported', (t) => {
  const values = new Map([
    ['same', '1'],
    ['other', '5'],
    ['large', '900'],
    ['guarded', '1'],
  ]);
  const refused: string[] = [];
  const written: string[] = [];
  ensureSysctls(
    {
      read: (key) => values.get(key),
      write(key, value) {
        if (key === 'guarded') throw new Error('EROFS');
        written.push(`${key}=${value}`);
      },
    },
    [
      { key: 'same', value: 1 },
      { key: 'other', value: 6 },
      { key: 'large', value: 100, atLeast: true },
      { key: 'guarded', value: 2 },
      { key: 'absent', value: 2 },
    ],
    (key) => refused.push(key),
  );
  t.deepEqual(written, ['other=6']);
  t.deepEqual(refused, ['guarded', 'absent']);
});

test('the hash table of conntrack grows with its limit, never shrinks; a refusal is told once', (t) => {
  const told: string[] = [];
  const values = new Map([
    ['net.netfilter.nf_conntrack_max', '900000'],
    ['net.netfilter.nf_conntrack_tcp_timeout_established', '86400'],
  ]);
  let buckets = 1024;
  let isReadOnly = false;
  const config = proxyConfig({ 'conntrack.maxPerCore': '1', 'conntrack.min': '400000' });
  const applier = createSysctlApplier({
    port: { read: (key) => values.get(key), write: () => {} },
    hash: {
      read: () => buckets,
      write(wanted) {
        if (isReadOnly) throw new Error('EROFS');
        buckets = wanted;
      },
    },
    config,
    log: silentLogger,
    warn: (about, reason, message) => told.push(`${about} ${reason} ${message}`),
  });
  applier.applyConntrack();
  t.is(buckets, 100_000);
  t.deepEqual(told.splice(0), [
    'node KernelSettingRefused net.netfilter.nf_conntrack_tcp_timeout_close_wait stays as it is: the kernel has no such setting',
  ]);
  buckets = 200_000;
  applier.applyConntrack();
  t.is(buckets, 200_000);
  buckets = 10;
  isReadOnly = true;
  applier.applyConntrack();
  applier.applyConntrack();
  t.deepEqual(told, ['node KernelSettingRefused nf_conntrack.hashsize stays as it is: EROFS']);
});

test('local pods are told by the first CIDR of the family, or by interface', (t) => {
  const dual = proxyConfig({ clusterCIDR: '10.244.0.0/16,fd00:244::/56' });
  t.is(matchLocal(resolveLocalDetector(dual, 'IPv4', []), false), '! -s 10.244.0.0/16');
  t.is(matchLocal(resolveLocalDetector(dual, 'IPv6', []), true), '-s fd00:244::/56');
  t.is(matchLocal(resolveLocalDetector(proxyConfig(), 'IPv6', []), true), undefined);
  const byNode = proxyConfig({ detectLocalMode: 'NodeCIDR' });
  t.is(matchLocal(resolveLocalDetector(byNode, 'IPv4', ['10.244.3.0/24']), true), '-s 10.244.3.0/24');
  const byPrefix = proxyConfig({ detectLocalMode: 'InterfaceNamePrefix', 'detectLocal.interfaceNamePrefix': 'veth' });
  t.is(matchLocal(resolveLocalDetector(byPrefix, 'IPv4', []), false), '! -i veth+');
});

const INTERFACES = {
  lo: [
    { address: '127.0.0.1', family: 'IPv4' as const },
    { address: '::1', family: 'IPv6' as const },
  ],
  eth0: [
    { address: '192.168.0.2', family: 'IPv4' as const },
    { address: 'fe80::1%eth0', family: 'IPv6' as const },
  ],
};
test('nodePortAddresses', (t) => {
  const resolve = (addresses: string[], family: 'IPv4' | 'IPv6' = 'IPv4') =>
    resolveNodePortTargets(addresses, family, ['192.168.0.2', 'fd00::2'], () => INTERFACES);
  t.deepEqual(resolve([]), { takesLoopback: true });
  t.deepEqual(resolve(['0.0.0.0/0']), { takesLoopback: true });
  t.deepEqual(resolve(['192.168.0.0/16']), { addresses: ['192.168.0.2'], takesLoopback: false });
  t.deepEqual(resolve(['127.0.0.0/8', '192.168.0.0/16']), {
    addresses: ['127.0.0.1', '192.168.0.2'],
    takesLoopback: true,
  });
  t.deepEqual(resolve(['192.168.0.0/16'], 'IPv6'), { takesLoopback: true }, 'nothing for the family means all');
  t.deepEqual(resolve(['primary']), { addresses: ['192.168.0.2'], takesLoopback: false });
  t.deepEqual(resolve(['primary'], 'IPv6'), { addresses: ['fd00::2'], takesLoopback: false });
});

test('the own node', (t) => {
  const node = readOwnNode({
    metadata: { name: 'n', labels: { 'topology.kubernetes.io/zone': 'z1' } },
    spec: { podCIDR: '10.244.1.0/24' },
    status: {
      addresses: [
        { type: 'Hostname', address: 'n' },
        { type: 'InternalIP', address: '192.168.0.2' },
      ],
    },
  } as unknown as Node);
  t.deepEqual(node, { zone: 'z1', podCidrs: ['10.244.1.0/24'], internalIps: ['192.168.0.2'] });
  t.deepEqual(nodeIpsOf('0.0.0.0', node, 'IPv4'), ['192.168.0.2']);
  t.deepEqual(nodeIpsOf('10.0.0.7', node, 'IPv4'), ['10.0.0.7']);
  t.deepEqual(nodeIpsOf('0.0.0.0', node, 'IPv6'), ['::1']);
  t.deepEqual(nodeIpsOf('0.0.0.0', UNKNOWN_NODE, 'IPv4'), ['127.0.0.1']);
});

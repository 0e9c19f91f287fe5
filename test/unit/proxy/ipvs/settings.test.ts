import test from 'ava';
import { ownSetNames, setName } from '../../../../proxy/ipvs/sets.ts';
import { computeIpvsSysctls, computeIpvsTimeouts } from '../../../../proxy/ipvs/settings.ts';
import { buildIpvsRemoval } from '../../../../proxy/ipvs/tables.ts';
import { parseIptablesSave } from '../../../../src/netfilter/tables.ts';

test('sysctls by kernel: conn_reuse_mode is touched from 4.1 on and before 5.9', (t) => {
  const keys = (release: string, strictARP = false) =>
    computeIpvsSysctls({ strictARP }, release).map(({ key, value }) => `${key.replace(/^net\.ipv4\./, '')}=${value}`);
  const usual = ['vs.expire_nodest_conn=1', 'vs.expire_quiescent_template=1', 'ip_forward=1'];
  for (const release of ['4.0.9', '5.9.0', '5.10.1-amd64', '6.1.176'])
    t.deepEqual(keys(release), ['vs.conntrack=1', ...usual], release);
  for (const release of ['4.1.0', '4.19.0-5-amd64', '5.8.18'])
    t.deepEqual(keys(release), ['vs.conntrack=1', 'vs.conn_reuse_mode=0', ...usual], release);
  t.deepEqual(keys('6.1.0', true).slice(-2), ['conf.all.arp_ignore=1', 'conf.all.arp_announce=2']);
});

test('timeouts: 0 leaves the kernel its own', (t) => {
  const none = { tcpTimeoutMs: 0, tcpFinTimeoutMs: 0, udpTimeoutMs: 0 };
  t.is(computeIpvsTimeouts(none), undefined);
  t.deepEqual(computeIpvsTimeouts({ ...none, tcpTimeoutMs: 900_000, udpTimeoutMs: 400 }), {
    tcpSeconds: 900,
    tcpFinSeconds: undefined,
    udpSeconds: 1,
  });
});

test('names of sets: upstream cuts those of IPv6 that are too long', (t) => {
  t.is(setName('KUBE-CLUSTER-IP', 'IPv4'), 'KUBE-CLUSTER-IP');
  t.is(setName('KUBE-CLUSTER-IP', 'IPv6'), 'KUBE-6-CLUSTER-IP');
  t.is(setName('KUBE-LOAD-BALANCER-SOURCE-CIDR', 'IPv6'), 'KUBE-6-LOAD-BALANCER-SOURCE-CID');
  for (const family of ['IPv4', 'IPv6'] as const) {
    const names = ownSetNames(family);
    t.is(new Set(names).size, names.length);
    t.true(names.every((name) => name.length <= 31));
  }
});

test('what another mode has taken over stays; rules that name our sets go, and foreign ones are left', (t) => {
  const saved = parseIptablesSave(`*nat
:OUTPUT ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-LOAD-BALANCER - [0:0]
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m set --match-set MINE dst -j ACCEPT
-A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT
-A KUBE-SERVICES -j KUBE-LOAD-BALANCER
-A KUBE-SERVICES -d 10.96.0.1/32 -j KUBE-SVC-A
COMMIT
`);
  const isOwnSet = (name: string) => name === 'KUBE-CLUSTER-IP';
  const jumps = [
    { table: 'nat', from: 'OUTPUT', rule: '-m comment --comment "kubernetes service portals" -j KUBE-SERVICES' },
  ] as const;
  const nat = (successor?: typeof jumps) =>
    buildIpvsRemoval(saved, isOwnSet, successor).find(({ table }) => table === 'nat');
  t.deepEqual(nat(jumps), {
    table: 'nat',
    chains: ['KUBE-LOAD-BALANCER'],
    commands: [
      '-D KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT',
      '-D KUBE-SERVICES -j KUBE-LOAD-BALANCER',
      '-X KUBE-LOAD-BALANCER',
    ],
  });
  t.deepEqual(nat()?.commands, [
    '-D OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
    '-X KUBE-LOAD-BALANCER',
    '-X KUBE-SERVICES',
  ]);
});

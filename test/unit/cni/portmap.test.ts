import test from 'ava';
import { createPortmap } from '../../../cni/plugins/portmap.ts';
import type { PortmapBackend } from '../../../cni/portmap/backend.ts';
import {
  buildAddition,
  buildRemoval,
  containersOf,
  findMissing,
  podChain,
} from '../../../cni/portmap/iptables-rules.ts';
import { type PortMapping, type PortmapConfig, parseMapping, podAddresses } from '../../../cni/portmap/mapping.ts';
import { buildPodRules, renderRules } from '../../../cni/portmap/nftables-rules.ts';
import { portmapProgram } from '../../../cni/programs/portmap.ts';
import { CniError } from '../../../cni/types.ts';
import { parseNetConf } from '../../../cni/wire/net-conf.ts';
import { ExecError, run } from '../../../src/linux/exec.ts';
import type { SavedTable } from '../../../src/netfilter/tables.ts';
import { LockedError } from '../../../src/netfilter/xtables-lock.ts';

const HTTP: PortMapping = { hostPort: 8080, containerPort: 80, protocol: 'tcp' };
const POD = { family: 'IPv4', address: '10.244.1.5', cidr: '10.244.1.5/24' } as const;
const POD6 = { family: 'IPv6', address: 'fd00::5', cidr: 'fd00::5/64' } as const;
const config = (extra: Partial<PortmapConfig> = {}): PortmapConfig => ({
  network: 'net',
  mappings: [HTTP],
  snat: true,
  masqAll: false,
  backend: undefined,
  markBit: 13,
  addresses: [],
  setMarkChain: undefined,
  conditions: { IPv4: [], IPv6: [] },
  ...extra,
});
const linesOf = (extra: Partial<PortmapConfig>, pod: typeof POD | typeof POD6 = POD) =>
  renderRules(pod === POD ? 'ip' : 'ip6', buildPodRules(config(extra), 'abc', pod))
    .trimEnd()
    .split('\n')
    .map((line) => line.replace(/insert rule ip6? cni_hostport /, '').replace(' comment "abc"', ''));

test('nftables: one rule a port, those of one address first, and the masquerade of the way back', (t) => {
  const mappings: PortMapping[] = [
    HTTP,
    { hostPort: 53, containerPort: 5353, protocol: 'udp', hostIP: '192.0.2.1' },
    { hostPort: 9, containerPort: 9, protocol: 'sctp', hostIP: '0.0.0.0' },
    { hostPort: 10, containerPort: 9, protocol: 'tcp', hostIP: '::' },
  ];
  t.deepEqual(linesOf({ mappings }), [
    'hostports tcp dport 8080 dnat to 10.244.1.5:80',
    'hostip_hostports ip daddr 192.0.2.1 udp dport 53 dnat to 10.244.1.5:5353',
    'hostports sctp dport 9 dnat to 10.244.1.5:9',
    'masquerading ip saddr 10.244.1.5 ip daddr 10.244.1.5 masquerade fully-random',
    'masquerading ip saddr 127.0.0.1 ip daddr 10.244.1.5 masquerade fully-random',
  ]);
  t.deepEqual(linesOf({ mappings }, POD6), [
    'hostports tcp dport 8080 dnat to [fd00::5]:80',
    'hostports tcp dport 10 dnat to [fd00::5]:9',
    'masquerading ip6 saddr fd00::5 ip6 daddr fd00::5 masquerade fully-random',
  ]);
  t.deepEqual(linesOf({ snat: false }), ['hostports tcp dport 8080 dnat to 10.244.1.5:80']);
  t.is(linesOf({ masqAll: true })[1], 'masquerading ct status dnat ip daddr 10.244.1.5 masquerade fully-random');
  t.deepEqual(buildPodRules(config({ mappings: mappings.slice(3) }), 'abc', POD), []);
});

test('nftables: simple conditions need no program; others stand in the rule as they were written', (t) => {
  const rulesOf = (...IPv4: string[]) =>
    buildPodRules(config({ conditions: { IPv4, IPv6: [] }, snat: false }), 'abc', POD);
  const simple = rulesOf('ip', 'daddr', '!=', '10.96.0.0/12', 'iifname "eth0"');
  t.deepEqual(simple[0]!.conditions, []);
  t.regex(renderRules('ip', simple), /hostports ip daddr != 10\.96\.0\.0\/12 iifname "eth0" tcp dport 8080 dnat/);
  const special = rulesOf('ip', 'daddr', '!=', '{ 127.0.0.0/8, 192.0.2.1 }');
  t.is(special[0]!.conditions.length, 4);
  t.regex(renderRules('ip', special), /hostports ip daddr != \{ 127\.0\.0\.0\/8, 192\.0\.2\.1 \} tcp dport 8080 dnat/);
});

const BUILT_IN: SavedTable = new Map(
  ['PREROUTING', 'OUTPUT', 'POSTROUTING'].map((name) => [name, { policy: 'ACCEPT', rules: [] }]),
);

/** What iptables would have after a transaction. */
function apply(saved: SavedTable, { chains, commands }: ReturnType<typeof buildAddition>): SavedTable {
  const next: SavedTable = new Map([...saved].map(([name, chain]) => [name, { ...chain, rules: [...chain.rules] }]));
  for (const chain of chains) next.set(chain, { rules: [] });
  for (const command of commands) {
    const [, verb, chain, rest] = /^-(\w) (\S+) ?(.*)$/.exec(command)!;
    const rules = next.get(chain!)?.rules ?? [];
    if (verb === 'N') next.set(chain!, { rules });
    else if (verb === 'X') next.delete(chain!);
    else if (verb === 'A') rules.push(rest!);
    else if (verb === 'I') rules.unshift(rest!);
    else rules.splice(rules.indexOf(rest!), 1);
  }
  return next;
}

test('iptables: the reference plugin’s chains and texts; a second call changes nothing; the last container takes all away', (t) => {
  t.is(podChain('test', '1234'), 'CNI-DN-2bbe0c48b91a7d1b8a675', 'first 21 digits of the SHA-512 of name and id');
  const one = apply(BUILT_IN, buildAddition(config(), 'one', POD, BUILT_IN));
  const chain = podChain('net', 'one');
  t.deepEqual(one.get('PREROUTING')!.rules, ['-m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT']);
  t.deepEqual(one.get('CNI-HOSTPORT-DNAT')!.rules, [
    `-p tcp -m comment --comment "dnat name: \\"net\\" id: \\"one\\"" -m multiport --destination-ports 8080 -j ${chain}`,
  ]);
  t.deepEqual(one.get(chain)!.rules, [
    '-s 10.244.1.0/24 -p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK',
    '-s 127.0.0.1 -p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK',
    '-p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.244.1.5:80',
  ]);
  t.deepEqual(one.get('CNI-HOSTPORT-MASQ')!.rules, ['-m mark --mark 0x2000/0x2000 -j MASQUERADE']);
  t.is(findMissing(config(), 'one', POD, one), undefined);
  t.regex(findMissing(config({ mappings: [{ ...HTTP, hostPort: 81 }] }), 'one', POD, one)!, /lacks .*81/);
  t.deepEqual(apply(one, buildAddition(config(), 'one', POD, one)), one);
  const both = apply(one, buildAddition(config({ network: 'other' }), 'two', POD6, one));
  t.deepEqual([containersOf(both, 'net'), containersOf(both, 'other')], [['one'], ['two']]);
  t.deepEqual(apply(both, buildRemoval(both, [podChain('other', 'two')])), one);
  t.deepEqual(apply(one, buildRemoval(one, [chain])), BUILT_IN);
});

test('iptables: rules behind what stands in PREROUTING, and before it in POSTROUTING (CVE-2019-9946)', (t) => {
  const services = '-m comment --comment "kubernetes service portals" -j KUBE-SERVICES';
  const saved: SavedTable = new Map(
    [...BUILT_IN.keys()].map((name) => [name, { policy: 'ACCEPT', rules: [services] }]),
  );
  const after = apply(saved, buildAddition(config(), 'one', POD, saved));
  t.deepEqual(
    ['PREROUTING', 'OUTPUT', 'POSTROUTING'].map((name) => after.get(name)!.rules.indexOf(services)),
    [0, 0, 1],
  );
});

test('iptables: 15 ports a rule, a chain of another’s for marks, another bit, conditions', (t) => {
  const mappings = Array.from({ length: 32 }, (_, index): PortMapping => ({ ...HTTP, hostPort: 1000 + index }));
  const entries = apply(BUILT_IN, buildAddition(config({ mappings }), 'one', POD, BUILT_IN)).get('CNI-HOSTPORT-DNAT')!;
  t.deepEqual(
    entries.rules.map((rule) => rule.split('--destination-ports ')[1]!.split(' ')[0]!.split(',').length),
    [15, 15, 2],
  );
  const marked = apply(BUILT_IN, buildAddition(config({ setMarkChain: 'KUBE-MARK-MASQ' }), 'one', POD, BUILT_IN));
  t.false(marked.has('CNI-HOSTPORT-SETMARK'));
  t.regex(marked.get(podChain('net', 'one'))!.rules[0]!, /-j KUBE-MARK-MASQ$/);
  const bit = apply(BUILT_IN, buildAddition(config({ markBit: 31, masqAll: true }), 'one', POD, BUILT_IN));
  t.deepEqual(bit.get('CNI-HOSTPORT-SETMARK')!.rules, [
    '-m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark 0x80000000/0x80000000',
  ]);
  t.is(bit.get(podChain('net', 'one'))!.rules[0], '-p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK');
  const conditions = { IPv4: ['!', '-d', '192.0.2.0/24'], IPv6: [] };
  const some = apply(BUILT_IN, buildAddition(config({ conditions }), 'one', POD, BUILT_IN));
  t.regex(some.get('CNI-HOSTPORT-DNAT')!.rules[0]!, /8080 ! -d 192\.0\.2\.0\/24 -j CNI-DN-/);
});

test('the pod’s addresses are those of its own interface', (t) => {
  const interfaces = [
    { name: 'br0', sandbox: '' },
    { name: 'eth0', sandbox: '/x' },
    { name: 'net1', sandbox: '/x' },
  ];
  const ips = [
    { address: '192.0.2.7/24', interface: 0 },
    { address: '10.1.0.2/16', interface: 2 },
    { address: '10.9.0.2/24', interface: 1 },
    { address: '10.9.0.3/24', interface: 1 },
    { address: 'fd00::2/64' },
  ];
  const found = podAddresses({ interfaces, ips, routes: [] }, 'eth0').map(
    ({ family, address }) => `${family} ${address}`,
  );
  t.deepEqual(found, ['IPv4 10.9.0.2', 'IPv6 fd00::2']);
});

const parse = (extra: object, portMappings: unknown[] = [HTTP]) =>
  portmapProgram({ run, sleep: async () => {} }).parse(
    parseNetConf(
      JSON.stringify({ cniVersion: '1.0.0', name: 'net', type: 'portmap', runtimeConfig: { portMappings }, ...extra }),
    ),
    {},
  );

test('configuration: backends by the keys that only they have; what contradicts itself is refused by name', (t) => {
  t.is(parse({}).backend, undefined);
  t.is(parse({ backend: 'nftables' }).backend, 'nftables');
  t.is(parse({ externalSetMarkChain: 'KUBE-MARK-MASQ' }).backend, 'iptables');
  t.is(parse({ conditionsV4: ['!', '-d', '192.0.2.0/24'] }).backend, 'iptables');
  t.is(parse({ conditionsV6: ['ip6', 'daddr', '!=', 'fd00::/8'] }).backend, 'nftables');
  const refused: [object, RegExp][] = [
    [
      { backend: 'nftables', externalSetMarkChain: 'X' },
      /externalSetMarkChain is for iptables, backend is for nftables/,
    ],
    [{ backend: 'ebpf' }, /backend: "ebpf" is not iptables or nftables/],
    [{ markMasqBit: 5, externalSetMarkChain: 'X' }, /exclude each other/],
    [{ markMasqBit: 32 }, /markMasqBit: 32 is not 0 to 31/],
    [{ snat: 'yes' }, /snat/],
    [{ conditionsV4: ['-d', '1.2.3.4\n-A X'] }, /conditionsV4/],
    [{ runtimeConfig: { portMappings: [{ hostPort: 0, containerPort: 1 }] } }, /hostPort must be 1 to 65535/],
    [{ runtimeConfig: { portMappings: [{ ...HTTP, hostIP: 'localhost' }] } }, /hostIP must be an IP address/],
    [{ runtimeConfig: { portMappings: [{ ...HTTP, protocol: 'icmp' }] } }, /protocol must be/],
  ];
  for (const [extra, message] of refused)
    t.like(
      t.throws(() => parse(extra), { instanceOf: CniError, message }),
      { code: 7 },
    );
  t.deepEqual(parseMapping({ hostPort: 1, containerPort: 2, protocol: 'UDP' }), {
    hostPort: 1,
    containerPort: 2,
    protocol: 'udp',
  });
});

const backend = (extra: Partial<PortmapBackend> = {}): PortmapBackend => ({
  add: async () => {},
  remove: async () => {},
  check: async () => {},
  collect: async () => {},
  close: () => {},
  ...extra,
});
const REQUEST = { containerId: 'a', ifname: 'eth0', netns: '', args: {} };
const PREVIOUS = { interfaces: [], ips: [{ address: '10.244.1.5/24' }], routes: [] };

test('R10: a held xtables lock is code 11 with its holder; what was half done is taken back; a node without iptables is told so', async (t) => {
  const calls: string[] = [];
  const held = new LockedError('the xtables lock is held by flock (pid 7)');
  const of = (error: Error, hasIptables = true) =>
    createPortmap({
      iptables: backend({
        add: async () => {
          throw error;
        },
        remove: async () => void calls.push('remove'),
      }),
      nftables: backend({ add: async () => void calls.push('nftables') }),
      hasIptables: () => hasIptables,
      allowLocalhost: async () => {},
      forgetUdpFlows: async () => {},
    });
  const busy = await t.throwsAsync(of(held).add(config(), REQUEST, PREVIOUS));
  t.like(busy, { code: 11, details: 'the xtables lock is held by flock (pid 7)' });
  t.deepEqual(calls, ['remove']);
  const broken = new ExecError('exit code 2', { program: 'iptables-restore', args: [] });
  t.like(await t.throwsAsync(of(broken).add(config({ backend: 'iptables' }), REQUEST, PREVIOUS)), { code: 5 });
  await of(broken).add(config(), REQUEST, PREVIOUS);
  t.is(calls.at(-1), 'nftables', 'iptables that cannot be used, and was not asked for');
  t.like(await t.throwsAsync(of(broken, false).add(config({ backend: 'iptables' }), REQUEST, PREVIOUS)), { code: 7 });
  t.like(await t.throwsAsync(of(broken, false).status(config({ backend: 'iptables' }))), { code: 7 });
  await of(broken, false).add(config(), REQUEST, PREVIOUS);
  t.is(calls.at(-1), 'nftables');
  t.like(await t.throwsAsync(of(held).add(config(), REQUEST)), { code: 7 });
  t.is(await of(held).add(config({ mappings: [] }), REQUEST, PREVIOUS), PREVIOUS);
});

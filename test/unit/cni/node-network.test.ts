import test from 'ava';
import { BRIDGE_GUARD_TABLE, computeBridgeGuardChains } from '../../../cni/node/bridge-guard-table.ts';
import { buildForwardRemoval, buildForwardTransaction, nodeForwardChain } from '../../../cni/node/forward-rules.ts';
import { computeGuardChains, GUARD_TABLE } from '../../../cni/node/guard-table.ts';
import { isMarkedTableInPlace, renderMarkedTable } from '../../../cni/node/marked-table.ts';
import { computeNodeRoutes, diffNodeRoutes } from '../../../cni/node/node-routes.ts';
import { ROUTE_PROTOCOL } from '../../../cni/node/route-protocol.ts';
import type { Route } from '../../../src/linux/netlink/routes.ts';
import type { SavedTable } from '../../../src/netfilter/tables.ts';

const guard = { clusterCidrs: ['10.244.0.0/16'], serviceCidrs: ['10.96.0.0/12'] };
const cidrs = { clusterCidr: '10.244.0.0/16', serviceCidr: '10.96.0.0/12' };
const cidrs6 = { clusterCidr: 'fd00:244::/56', serviceCidr: 'fd00:96::/112' };

function route(some: Partial<Route>): Route {
  const base = { family: 4, type: 'unicast', destination: '0.0.0.0/0', metric: 0, protocol: 4, table: 254 } as const;
  return { ...base, scope: 0, onlink: false, ...some };
}

test('routes: with a default route only the net under the pods', (t) => {
  const routes = [route({ gateway: '192.0.2.1', linkIndex: 2 })];
  t.deepEqual(computeNodeRoutes({ ...cidrs, loopbackIndex: 1, routes }), [
    { metric: 4_278_198_272, protocol: 0xbe, type: 'unreachable', destination: '10.244.0.0/16' },
  ]);
});

test('routes: without a default route services get one that leads into the rules', (t) => {
  const unreachableDefault = route({ type: 'unreachable' });
  const want = computeNodeRoutes({ ...cidrs, loopbackIndex: 1, routes: [unreachableDefault] });
  t.like(want[1], { type: 'unicast', destination: '10.96.0.0/12', linkIndex: 1 });
});

test('routes: IPv6 services get one over a link of the host, not over lo, and none before there is one', (t) => {
  const routes6 = (...some: Partial<Route>[]) => some.map((one) => route({ family: 6, ...one }));
  const linkLocal = { destination: 'fe80::/64', linkIndex: 2 };
  const alone = routes6(linkLocal, { type: 'unreachable', destination: '::/0' });
  t.deepEqual(computeNodeRoutes({ ...cidrs6, loopbackIndex: 1, routes: alone }), [
    { metric: 4_278_198_272, protocol: 0xbe, type: 'unreachable', destination: 'fd00:244::/56' },
  ]);
  const connected = [...alone, ...routes6({ destination: 'fd00:244::/64', linkIndex: 7 })];
  const [, toServices] = computeNodeRoutes({ ...cidrs6, loopbackIndex: 1, routes: connected });
  t.like(toServices, { type: 'unicast', destination: 'fd00:96::/112', linkIndex: 7 });
  const unserved = { ...cidrs6, serviceCidr: undefined };
  t.is(computeNodeRoutes({ ...unserved, loopbackIndex: 1, routes: connected }).length, 1);
});

test('routes: the difference touches our own only', (t) => {
  const routes = [
    route({ destination: '10.9.0.0/16', protocol: 4 }),
    route({ destination: '10.8.0.0/16', protocol: 0xbf }),
  ];
  const want = computeNodeRoutes({ ...cidrs, loopbackIndex: 1, routes });
  t.deepEqual(diffNodeRoutes(want, routes), { add: want, remove: [] });
  const there = want.map((spec) => route({ ...spec, metric: spec.metric!, protocol: ROUTE_PROTOCOL.node }));
  t.deepEqual(diffNodeRoutes(want, [...routes, ...there]), { add: [], remove: [] });
  const old = route({ type: 'unreachable', destination: '10.200.0.0/16', protocol: ROUTE_PROTOCOL.node });
  t.deepEqual(diffNodeRoutes(want, [...there, old]), { add: [], remove: [old] });
});

test('guard: a pod that tells it is a router is not heard (CVE-2020-10749)', (t) => {
  const text = renderMarkedTable(BRIDGE_GUARD_TABLE, computeBridgeGuardChains('cni0'));
  const rule = /iifname "cni0" icmpv6 type nd-router-advert counter drop comment "pods are no routers /g;
  t.is(text.match(rule)?.length, 2, 'in input and in forward');
});

test('guard: the text is one transaction with its hooks and the masquerade', (t) => {
  t.is(
    renderMarkedTable(GUARD_TABLE, computeGuardChains(guard)).replaceAll(/ [0-9a-f]{8}"/g, ' HASH"'),
    `add table inet berth
delete table inet berth
table inet berth {
  chain input {
    type filter hook input priority -1; policy accept;
    iifname != "lo" ip daddr 127.0.0.0/8 ct status dnat accept comment "translated to localhost HASH"
    iifname != "lo" ip daddr 127.0.0.0/8 ct state established,related accept comment "answers to localhost HASH"
    iifname != "lo" ip daddr 127.0.0.0/8 counter drop comment "localhost is not for neighbours HASH"
  }
  chain forward {
    type filter hook forward priority -1; policy accept;
    ip daddr 10.96.0.0/12 meta l4proto tcp counter reject with tcp reset comment "no such service HASH"
    ip daddr 10.96.0.0/12 counter reject with icmpx type port-unreachable comment "no such service HASH"
  }
  chain output {
    type filter hook output priority -1; policy accept;
    ip daddr 10.96.0.0/12 meta l4proto tcp counter reject with tcp reset comment "no such service HASH"
    ip daddr 10.96.0.0/12 counter reject with icmpx type port-unreachable comment "no such service HASH"
  }
  chain postrouting {
    type nat hook postrouting priority 100; policy accept;
    ip saddr 10.244.0.0/16 ip daddr != { 10.244.0.0/16, 224.0.0.0/4 } counter masquerade fully-random comment "pods leaving the cluster HASH"
  }
}
`,
  );
});

test('guard: a second family has its own rules', (t) => {
  const text = renderMarkedTable(
    GUARD_TABLE,
    computeGuardChains({
      clusterCidrs: ['10.244.0.0/16', 'fd00:244::/56'],
      serviceCidrs: ['10.96.0.0/12', 'fd00:96::/112'],
    }),
  );
  t.is(text.match(/ip6 daddr fd00:96::\/112 meta l4proto tcp counter reject with tcp reset/g)?.length, 2);
  t.is(text.match(/ip daddr 10\.96\.0\.0\/12 meta l4proto tcp/g)?.length, 2);
  t.regex(text, /ip6 saddr fd00:244::\/56 ip6 daddr != \{ fd00:244::\/56, ff00::\/8 \} counter masquerade/);
});

test('guard: recognized by its chains and comments; a flushed, reordered or changed one is not', (t) => {
  const chains = computeGuardChains(guard);
  const objects = [
    ...chains.map(({ name, type, hook, priority }) => ({ chain: { name, type, hook, prio: priority } })),
    ...chains.flatMap(({ name, rules }) => rules.map(({ comment }) => ({ rule: { chain: name, comment } }))),
  ];
  t.true(isMarkedTableInPlace(chains, objects));
  t.false(isMarkedTableInPlace(chains, objects.slice(0, -1)), 'a rule is missing');
  t.false(isMarkedTableInPlace(chains, [...objects, { rule: { chain: 'forward' } }]), 'a foreign rule');
  t.false(isMarkedTableInPlace(chains, objects.slice(1)), 'a chain is missing');
  t.false(
    isMarkedTableInPlace(computeGuardChains({ ...guard, serviceCidrs: ['10.97.0.0/16'] }), objects),
    'another CIDR',
  );
});

const JUMP = '-m comment --comment "berth pod network" -j BERTH-FORWARD';
const ACCEPTS = ['-s 10.244.0.0/16 -j ACCEPT', '-d 10.244.0.0/16 -j ACCEPT'];

function saved(forward: string[], own?: string[]): SavedTable {
  return new Map([
    ['FORWARD', { policy: 'DROP', rules: forward }],
    ...(own ? [['BERTH-FORWARD', { rules: own }] as const] : []),
  ]);
}

test('forward: written whole where there is nothing', (t) => {
  const want = [
    {
      table: 'filter' as const,
      chains: ['BERTH-FORWARD'],
      commands: [...ACCEPTS.map((rule) => `-A BERTH-FORWARD ${rule}`), `-I FORWARD 1 ${JUMP}`],
    },
  ];
  t.deepEqual(buildForwardTransaction(undefined, nodeForwardChain(cidrs.clusterCidr)), want);
  t.deepEqual(buildForwardTransaction(saved(['-j DOCKER-USER']), nodeForwardChain(cidrs.clusterCidr)), want);
});

test('forward: behind the proxy’s jumps, which reject what has no endpoint', (t) => {
  const forward = [
    '-m comment --comment "x" -j KUBE-FORWARD',
    '-m conntrack --ctstate NEW -j KUBE-SERVICES',
    '-j DOCKER-USER',
  ];
  t.is(
    buildForwardTransaction(saved(forward), nodeForwardChain(cidrs.clusterCidr))[0]!.commands.at(-1),
    `-I FORWARD 3 ${JUMP}`,
  );
});

test('forward: nothing to do when all is there, wherever the jump stands', (t) => {
  const nothing = [{ table: 'filter' as const, chains: [], commands: [] }];
  t.deepEqual(
    buildForwardTransaction(saved([JUMP, '-j DOCKER-USER'], ACCEPTS), nodeForwardChain(cidrs.clusterCidr)),
    nothing,
  );
  t.deepEqual(
    buildForwardTransaction(saved(['-j DOCKER-USER', JUMP], ACCEPTS), nodeForwardChain(cidrs.clusterCidr)),
    nothing,
  );
});

test('forward: repairs a chain with other rules, and a doubled jump', (t) => {
  const [changed] = buildForwardTransaction(saved([JUMP, JUMP], ['-j DROP']), nodeForwardChain(cidrs.clusterCidr));
  t.deepEqual(changed, {
    table: 'filter',
    chains: ['BERTH-FORWARD'],
    commands: [
      ...ACCEPTS.map((rule) => `-A BERTH-FORWARD ${rule}`),
      `-D FORWARD ${JUMP}`,
      `-D FORWARD ${JUMP}`,
      `-I FORWARD 1 ${JUMP}`,
    ],
  });
});

test('forward: removal takes the jump and the chain, and nothing else', (t) => {
  t.deepEqual(buildForwardRemoval(saved([JUMP, '-j DOCKER-USER'], ACCEPTS)), [
    { table: 'filter', chains: ['BERTH-FORWARD'], commands: [`-D FORWARD ${JUMP}`, '-X BERTH-FORWARD'] },
  ]);
  t.deepEqual(buildForwardRemoval(saved(['-j DOCKER-USER']))[0]?.commands, []);
  t.deepEqual(buildForwardRemoval(undefined), []);
});

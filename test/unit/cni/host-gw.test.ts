import test from 'ava';
import { computeHostGatewayRoutes, diffRoutes, type LocalNetwork } from '../../../cni/overlay/host-gw-routes.ts';
import type { Node } from '../../../src/kube/types.ts';
import type { Route } from '../../../src/linux/netlink/routes.ts';

function route(some: Partial<Route>): Route {
  const base = { family: 4, type: 'unicast', destination: '0.0.0.0/0', metric: 0, protocol: 2, table: 254 } as const;
  return { ...base, scope: 253, onlink: false, ...some };
}

function node(name: string, podCIDR: string | undefined, ...addresses: [type: string, address: string][]): Node {
  return {
    metadata: { name, uid: name, resourceVersion: '1', creationTimestamp: '' },
    spec: { podCIDR },
    status: { addresses: addresses.map(([type, address]) => ({ type, address })) },
  } as Node;
}

const UPLINK = 2;
const BRIDGE = 3;
const local: LocalNetwork = {
  addresses: ['127.0.0.1', '10.0.0.1', '10.244.1.1'],
  routes: [
    route({ destination: '0.0.0.0/0', gateway: '10.0.0.254', linkIndex: UPLINK, protocol: 4 }),
    route({ destination: '10.0.0.0/24', linkIndex: UPLINK }),
    route({ destination: '10.244.1.0/24', linkIndex: BRIDGE }),
    route({ destination: '10.96.0.0/12', linkIndex: 1, protocol: 0xbe }),
  ],
  podLinkIndexes: [BRIDGE],
};

const compute = (...nodes: Node[]) => computeHostGatewayRoutes({ nodeName: 'a', nodes, local });

test('a route for every other node, in order of their names', (t) => {
  const plan = compute(
    node('c', '10.244.3.0/24', ['Hostname', 'c'], ['InternalIP', '10.0.0.3']),
    node('b', '10.244.2.0/24', ['ExternalIP', '203.0.113.2'], ['InternalIP', '10.0.0.2']),
    node('a', '10.244.1.0/24', ['InternalIP', '10.0.0.1']),
  );
  const common = { linkIndex: UPLINK, metric: 0, protocol: 0xbf };
  t.deepEqual(plan, {
    routes: [
      { destination: '10.244.2.0/24', gateway: '10.0.0.2', ...common },
      { destination: '10.244.3.0/24', gateway: '10.0.0.3', ...common },
    ],
    skipped: [],
  });
});

test('nodes without pod CIDR or address are passed over in silence', (t) => {
  t.deepEqual(compute(node('b', undefined, ['InternalIP', '10.0.0.2']), node('c', '10.244.3.0/24')), {
    routes: [],
    skipped: [],
  });
});

for (const [what, other, reason] of [
  ['behind a router', node('b', '10.244.2.0/24', ['InternalIP', '192.0.2.7']), /one L2 network/],
  ['behind the pods’ bridge', node('b', '10.244.2.0/24', ['InternalIP', '10.244.1.7']), /one L2 network/],
  ['with an address of ours', node('b', '10.244.2.0/24', ['InternalIP', '10.0.0.1']), /is an address of this node/],
  ['with nonsense', node('b', '10.244.2.0', ['InternalIP', '10.0.0.2']), /malformed/],
] as [string, Node, RegExp][])
  test(`skips a node ${what}, with the reason`, (t) => {
    const plan = compute(other);
    t.deepEqual(plan.routes, []);
    t.regex(plan.skipped[0]!.reason, reason);
  });

test('of two nodes with one pod CIDR the first by name wins', (t) => {
  const plan = compute(
    node('c', '10.244.2.0/24', ['InternalIP', '10.0.0.3']),
    node('b', '10.244.2.0/24', ['InternalIP', '10.0.0.2']),
  );
  t.deepEqual(
    plan.routes.map(({ gateway }) => gateway),
    ['10.0.0.2'],
  );
  t.deepEqual(plan.skipped, [{ node: 'c', reason: 'its pod CIDR 10.244.2.0/24 clashes with 10.244.2.0/24 of node b' }]);
});

test('a pod CIDR that clashes with our own or holds another one is not routed; the older node keeps its pods', (t) => {
  const born = (creationTimestamp: string, made: Node): Node => ({
    ...made,
    metadata: { ...made.metadata, creationTimestamp },
  });
  const plan = compute(
    born('2026-01-03T00:00:00Z', node('a', '10.244.1.0/24', ['InternalIP', '10.0.0.1'])),
    born('2026-01-02T00:00:00Z', node('b', '10.244.2.128/25', ['InternalIP', '10.0.0.2'])),
    born('2026-01-01T00:00:00Z', node('c', '10.244.2.0/24', ['InternalIP', '10.0.0.3'])),
    born('2026-01-01T00:00:00Z', node('d', '10.244.0.0/16', ['InternalIP', '10.0.0.4'])),
  );
  t.deepEqual(
    plan.routes.map(({ destination, gateway }) => [destination, gateway]),
    [['10.244.2.0/24', '10.0.0.3']],
  );
  t.deepEqual(plan.skipped, [
    { node: 'd', reason: 'its pod CIDR 10.244.0.0/16 clashes with 10.244.1.0/24 of node a' },
    { node: 'b', reason: 'its pod CIDR 10.244.2.128/25 clashes with 10.244.2.0/24 of node c' },
  ]);
});

test('diff: nothing to do, add, replace, remove; foreign routes are not seen', (t) => {
  const { routes: want } = compute(
    node('b', '10.244.2.0/24', ['InternalIP', '10.0.0.2']),
    node('c', '10.244.3.0/24', ['InternalIP', '10.0.0.3']),
  );
  const [b, c] = want as [(typeof want)[0], (typeof want)[0]];
  const there = want.map((spec) => route({ ...spec, metric: 0, scope: 0 }));
  t.deepEqual(diffRoutes(want, [...local.routes, ...there]), { add: [], replace: [], remove: [] });
  t.deepEqual(diffRoutes(want, [there[0]!]), { add: [c], replace: [], remove: [] });
  t.deepEqual(diffRoutes(want, [{ ...there[0]!, gateway: '10.0.0.9' }, there[1]!]), {
    add: [],
    replace: [b],
    remove: [],
  });
  const gone = route({ destination: '10.244.9.0/24', gateway: '10.0.0.9', protocol: 0xbf });
  t.deepEqual(diffRoutes(want, [...there, gone]), { add: [], replace: [], remove: [gone] });
  const foreign = route({ destination: '10.244.9.0/24', gateway: '10.0.0.9', protocol: 4 });
  t.deepEqual(diffRoutes(want, [...there, foreign]), { add: [], replace: [], remove: [] });
});

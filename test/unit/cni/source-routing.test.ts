import test from 'ava';
import { computeSourceRouting, type SourceRoutingOptions } from '../../../cni/plugins/source-routing.ts';
import type { Route } from '../../../src/linux/netlink/routes.ts';
import type { Rule } from '../../../src/linux/netlink/rules.ts';

const LINK = 7;
const MAIN = 254;

const route = (destination: string, some: Partial<Route> = {}): Route => {
  const family = destination.includes(':') ? 6 : 4;
  const scope = family === 4 && !some.gateway ? 253 : 0;
  return {
    family,
    type: 'unicast',
    destination,
    linkIndex: LINK,
    metric: 0,
    protocol: 2,
    table: MAIN,
    scope,
    onlink: false,
    ...some,
  };
};
const rule = (source: string, table: number): Rule => ({ family: 4, source, priority: 32765, table });
const OPTIONS: SourceRoutingOptions = { table: undefined, gateways: [], addSourceHints: false };
const IP = { address: '10.9.0.10/24', gateway: '10.9.0.1' };
const SUBNET = route('10.9.0.0/24', { source: '10.9.0.10' });
const BEYOND = route('10.8.0.0/16', { gateway: '10.9.0.7' });
const said = (routes: readonly { destination: string; gateway?: string; table?: number }[]) =>
  routes.map(({ destination, gateway, table }) => `${destination}${gateway ? ` via ${gateway}` : ''} table ${table}`);

test('the link’s routes are copied into the first free table behind a default route, and leave the main one', (t) => {
  const have = {
    rules: [rule('10.1.1.1/32', 100)],
    routes: [SUBNET, BEYOND, route('10.5.0.0/16', { table: 101 }), route('10.0.0.0/8', { linkIndex: 3 })],
  };
  const plan = computeSourceRouting([IP], LINK, have, OPTIONS);
  t.deepEqual(said(plan.replace), [
    '0.0.0.0/0 via 10.9.0.1 table 102',
    '10.9.0.0/24 table 102',
    '10.8.0.0/16 via 10.9.0.7 table 102',
  ]);
  t.deepEqual(plan.rules, [{ source: '10.9.0.10/32', table: 102 }]);
  t.deepEqual(said(plan.remove), ['10.9.0.0/24 table 254', '10.8.0.0/16 via 10.9.0.7 table 254']);
});

test('each address has a table of its own, with what is of its subnet and family', (t) => {
  const second = { address: '10.7.0.10/24', gateway: '10.7.0.1' };
  const third = { address: 'fd00:9::10/64', gateway: 'fd00:9::1' };
  const routes = [
    SUBNET,
    route('10.7.0.0/24', { source: '10.7.0.10' }),
    BEYOND,
    route('10.6.0.0/16'),
    route('fd00:9::/64', { metric: 256 }),
    route('fe80::/64', { metric: 256 }),
  ];
  const plan = computeSourceRouting([IP, second, third], LINK, { rules: [], routes }, OPTIONS);
  t.deepEqual(said(plan.replace), [
    '0.0.0.0/0 via 10.9.0.1 table 100',
    '10.9.0.0/24 table 100',
    '10.6.0.0/16 table 100',
    '10.8.0.0/16 via 10.9.0.7 table 100',
    '0.0.0.0/0 via 10.7.0.1 table 101',
    '10.7.0.0/24 table 101',
    '10.6.0.0/16 table 101',
    '::/0 via fd00:9::1 table 102',
    'fd00:9::/64 table 102',
    'fe80::/64 table 102',
  ]);
  t.false(said(plan.remove).includes('fe80::/64 table 254'), 'neighbour discovery needs it');
  t.is(plan.remove.length, 5);
});

test('gateways of the configuration stand above the addresses’; hints keep subnets in the main table; a named table is left to others', (t) => {
  const have = { rules: [], routes: [SUBNET, BEYOND] };
  const hinted = computeSourceRouting([IP], LINK, have, {
    ...OPTIONS,
    gateways: ['fd00::1', '10.9.0.2'],
    addSourceHints: true,
  });
  t.deepEqual(said(hinted.replace), [
    '0.0.0.0/0 via 10.9.0.2 table 100',
    '10.9.0.0/24 table 100',
    '10.8.0.0/16 via 10.9.0.7 table 100',
    '10.9.0.0/24 table 254',
  ]);
  t.like(hinted.replace.at(-1), { source: '10.9.0.10', scope: 253, linkIndex: LINK });
  t.deepEqual(said(hinted.remove), ['10.8.0.0/16 via 10.9.0.7 table 254']);
  t.deepEqual(computeSourceRouting([IP], LINK, have, { ...OPTIONS, table: 5001 }), {
    replace: [],
    rules: [{ source: '10.9.0.10/32', table: 5001 }],
    remove: [],
  });
  const bare = computeSourceRouting([{ address: '10.9.0.10/24' }], LINK, { rules: [], routes: [] }, OPTIONS);
  t.deepEqual(bare, { replace: [], rules: [{ source: '10.9.0.10/32', table: 100 }], remove: [] });
});

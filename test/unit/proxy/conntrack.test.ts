import test from 'ava';
import { createConntrackCleaner } from '../../../proxy/conntrack/cleaner.ts';
import { computeUdpDestinations, createStaleFlowTest } from '../../../proxy/conntrack/stale-flows.ts';
import type { Conntrack, UdpFlow } from '../../../src/netfilter/ctnetlink.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { serviceOf, sliceOf, snapshotOf } from '../../support/proxy.ts';

const flow = (destination: string, destinationPort: number, replySource: string, replySourcePort: number): UdpFlow => ({
  destination,
  destinationPort,
  replySource,
  replySourcePort,
});

const DNS = {
  type: 'NodePort' as const,
  ports: [{ name: 'dns', port: 53, nodePort: 30053, protocol: 'UDP' as const }],
};
const PORTS = [{ name: 'dns', port: 5353, protocol: 'UDP' as const }];
const snapshot = (endpoints: Parameters<typeof sliceOf>[1]) =>
  snapshotOf(
    [serviceOf('ns/dns', '10.96.0.53', { ...DNS, externalIPs: ['198.51.100.1'] }), serviceOf('ns/web', '10.96.0.80')],
    [sliceOf('ns/dns', endpoints, { ports: PORTS })],
  );

test('who may answer: serving endpoints, those on their way out among them; only UDP', (t) => {
  const leaving = { ip: '10.244.0.3', conditions: { ready: false, serving: true, terminating: true } };
  const gone = { ip: '10.244.0.4', conditions: { ready: false, serving: false, terminating: true } };
  const found = computeUdpDestinations(snapshot(['10.244.0.2', leaving, gone]), undefined, ['ns/dns', 'ns/web']);
  const endpoints = new Set(['10.244.0.2:5353', '10.244.0.3:5353']);
  t.deepEqual(
    [...found],
    [
      ['10.96.0.53:53', endpoints],
      ['198.51.100.1:53', endpoints],
      ['*:30053', endpoints],
    ],
  );
});

const CASES: [what: string, flow: UdpFlow, isStale: boolean][] = [
  ['to an endpoint that is there', flow('10.96.0.53', 53, '10.244.0.2', 5353), false],
  ['to an endpoint that is gone', flow('10.96.0.53', 53, '10.244.0.9', 5353), true],
  ['never translated, of the time without endpoints', flow('10.96.0.53', 53, '10.96.0.53', 53), true],
  ['by an external IP to one that is gone', flow('198.51.100.1', 53, '10.244.0.9', 5353), true],
  ['by node port to one that is gone', flow('192.168.0.2', 30053, '10.244.0.9', 5353), true],
  ['by node port to one that is there', flow('192.168.0.2', 30053, '10.244.0.2', 5353), false],
  ['for the node itself, never translated', flow('192.168.0.2', 30053, '192.168.0.2', 30053), true],
  ['through the node to the same port elsewhere', flow('203.0.113.7', 30053, '203.0.113.7', 30053), false],
  ["another service's", flow('10.96.0.99', 53, '10.244.0.9', 5353), false],
];
for (const [what, one, isStale] of CASES)
  test(`${isStale ? 'stale' : 'left alone'}: a flow ${what}`, (t) => {
    const destinations = computeUdpDestinations(snapshot(['10.244.0.2']), undefined, ['ns/dns']);
    t.is(createStaleFlowTest(destinations, new Set(['192.168.0.2']))(one), isStale);
  });

test('R8: flows go when endpoints are swapped, when the last one goes, and when the service goes', async (t) => {
  const deleted: string[] = [];
  let flows = [flow('10.96.0.53', 53, '10.244.0.2', 5353)];
  let fails = false;
  let listings = 0;
  const conntrack: Conntrack = {
    async deleteUdpFlows(_family, isStale) {
      listings++;
      if (fails) throw new Error('busy');
      const stale = flows.filter(isStale);
      deleted.push(...stale.map(({ replySource }) => replySource));
      return stale.length;
    },
  };
  const cleaner = createConntrackCleaner({ conntrack, localAddresses: () => [], log: silentLogger });
  const dirty = new Set(['ns/dns']);
  t.is(await cleaner.clean(snapshot(['10.244.0.2']), dirty), 0, 'R9: a restart leaves good flows alone');
  await cleaner.clean(snapshot(['10.244.0.2']), new Set(['ns/web']));
  t.is(listings, 1, 'no UDP, no look');
  t.is(await cleaner.clean(snapshot(['10.244.0.3']), dirty), 1);
  flows = [flow('10.96.0.53', 53, '10.244.0.3', 5353)];
  fails = true;
  t.is(await cleaner.clean(snapshot([]), dirty), 0);
  fails = false;
  t.is(await cleaner.clean(snapshot([]), new Set()), 1, 'what failed is made up for');
  await cleaner.clean(snapshot(['10.244.0.3']), dirty);
  fails = true;
  t.is(await cleaner.clean(snapshotOf([], []), dirty), 0);
  fails = false;
  t.is(await cleaner.clean(snapshotOf([], []), new Set()), 1, 'though the service is known no more');
  t.is(await cleaner.clean(snapshotOf([], []), new Set()), 0);
  t.deepEqual(deleted, ['10.244.0.2', '10.244.0.3', '10.244.0.3']);
});

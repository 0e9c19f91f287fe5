import test from 'ava';
import { machineAddress, type NodeRecord, planRecords, prefix6Beside } from '../../../cli/nodes/records.ts';

const cluster = { nodeName: 'box', nodesNetwork: '172.29.77.0/29' };
const record = (name: string, address: string): NodeRecord => ({ name, address, runs: true, partitioned: false });
const plan = (existing: NodeRecord[], wanted: { count: number; name?: string }) =>
  planRecords(cluster, existing, wanted).map(({ name, address }) => `${name} ${address}`);

test('further nodes are numbered from 2, and get the addresses after the machine’s own', (t) => {
  t.is(machineAddress(cluster.nodesNetwork), '172.29.77.1');
  t.deepEqual(plan([], { count: 2 }), ['box-2 172.29.77.2', 'box-3 172.29.77.3']);
});

test('gaps in names and addresses are filled, each for itself', (t) => {
  const existing = [record('box-3', '172.29.77.2'), record('other', '172.29.77.4')];
  t.deepEqual(plan(existing, { count: 2 }), ['box-2 172.29.77.3', 'box-4 172.29.77.5']);
});

test('a name of one’s own; one that is taken is refused, the machine’s too', (t) => {
  t.deepEqual(plan([], { count: 1, name: 'edge' }), ['edge 172.29.77.2']);
  for (const name of ['box', 'edge'])
    t.throws(() => plan([record('edge', '172.29.77.2')], { count: 1, name }), {
      message: /there is a node \w+ already/,
    });
});

test('a full network is named; its last address is the broadcast one', (t) => {
  t.is(plan([], { count: 5 }).at(-1), 'box-6 172.29.77.6');
  t.throws(() => plan([], { count: 6 }), { message: /172\.29\.77\.0\/29 has no address left/ });
});

test('a node’s IPv6 address ends in its IPv4 one', (t) => {
  t.is(prefix6Beside('172.29.77.2'), 'fd00:be27::ac1d:4d02/96');
});

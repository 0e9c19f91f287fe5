import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { createConntrack, type UdpFlow } from '../../../src/netfilter/ctnetlink.ts';
import { createTestNetns, type TestNetns } from '../../support/netns.ts';

const FLOWS = 3000;

/** Flows of clients to 10.96.0.53:53; those with an even port are answered by 10.244.0.2, others by 10.244.0.3. */
async function fill(netns: TestNetns, count: number): Promise<void> {
  const lines = Array.from({ length: count }, (_, index) => {
    const port = 20_000 + index;
    return `-I -p udp -t 120 -s 10.244.0.9 -d 10.96.0.53 --sport ${port} --dport 53 -r 10.244.0.${2 + (index % 2)} -q 10.244.0.9 --reply-port-src 5353 --reply-port-dst ${port}`;
  });
  const folder = mkdtempSync(join(tmpdir(), 'conntrack-'));
  try {
    const file = join(folder, 'flows');
    writeFileSync(file, `${lines.join('\n')}\n`);
    await netns.run('conntrack', ['-R', file]);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const entries = async (netns: TestNetns, ...args: string[]) =>
  (await netns.run('conntrack', ['-L', ...args])).split('\n').filter(Boolean);

async function setUp(t: ExecutionContext) {
  const netns = await createTestNetns(t, 'ct');
  return { netns, conntrack: createConntrack({ netns: netns.path }) };
}

test('R8: thousands of flows to a dead endpoint go in one call, no process for any; all others stay', async (t) => {
  const { netns, conntrack } = await setUp(t);
  await fill(netns, FLOWS);
  await netns.run('conntrack', [
    ...'-I -p tcp -t 120 -s 10.244.0.9 -d 10.96.0.53 --sport 1024 --dport 53 -r 10.244.0.3 -q 10.244.0.9'.split(' '),
    ...'--reply-port-src 5353 --reply-port-dst 1024 --state ESTABLISHED'.split(' '),
  ]);
  const seen: UdpFlow[] = [];
  const deleted = await conntrack.deleteUdpFlows('IPv4', (flow) => {
    seen.push(flow);
    return flow.replySource === '10.244.0.3';
  });
  t.is(deleted, FLOWS / 2);
  t.is(seen.length, FLOWS, 'TCP is not even looked at');
  t.deepEqual(
    seen.find(({ replySource }) => replySource === '10.244.0.2'),
    { destination: '10.96.0.53', destinationPort: 53, replySource: '10.244.0.2', replySourcePort: 5353 },
  );
  const left = await entries(netns, '-p', 'udp');
  t.is(left.length, FLOWS / 2);
  t.true(left.every((line) => line.includes('src=10.244.0.2 ')));
  t.is((await entries(netns, '-p', 'tcp')).length, 1);
  t.is(await conntrack.deleteUdpFlows('IPv4', ({ replySource }) => replySource === '10.244.0.3'), 0);
});

test('flows of IPv6 are read in the usual spelling, those of IPv4 are not among them', async (t) => {
  const { netns, conntrack } = await setUp(t);
  await fill(netns, 2);
  for (const [destination, endpoint] of [
    ['fd00:96::53', 'fd00:244::2'],
    ['fd00:0:0:1:0:0:0:1', '2001:db8:0:1:1:1:1:1'],
  ])
    await netns.run('conntrack', [
      ...'-I -p udp -t 120 -s fd00:244::9 --sport 40000 --dport 53 -q fd00:244::9'.split(' '),
      ...['-d', destination!, '-r', endpoint!, '--reply-port-src', '5353', '--reply-port-dst', '40000'],
    ]);
  const seen: string[] = [];
  const deleted = await conntrack.deleteUdpFlows('IPv6', ({ destination, replySource }) => {
    seen.push(`${destination} ${replySource}`);
    return destination === 'fd00:96::53';
  });
  t.deepEqual(seen.sort(), ['fd00:0:0:1::1 2001:db8:0:1:1:1:1:1', 'fd00:96::53 fd00:244::2']);
  t.is(deleted, 1);
  t.is((await entries(netns, '-f', 'ipv6')).length, 1);
  t.is((await entries(netns, '-f', 'ipv4')).length, 2);
});

test('an empty table is no error', async (t) => {
  const { conntrack } = await setUp(t);
  t.is(await conntrack.deleteUdpFlows('IPv4', () => true), 0);
});

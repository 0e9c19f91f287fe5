import test from 'ava';
import { createCsiNodeKeeper, withDriver } from '../../../../agent/volumes/csi/csi-node.ts';
import { csiNodes, nodes } from '../../../../src/kube/resources.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { createFakeClock, settle } from '../../../fakes/clock.ts';
import { createFakeKubeClient } from '../../../fakes/kube-client.ts';

const INFO = { nodeId: 'n', maxVolumesPerNode: 3, accessibleTopology: { segments: { b: '2', a: '1' } } };

test('a driver’s entry; the same list when nothing is new', (t) => {
  const [entry] = withDriver([], 'd', INFO);
  t.deepEqual(entry, { name: 'd', nodeID: 'n', topologyKeys: ['a', 'b'], allocatable: { count: 3 } });
  const list = [{ ...entry!, topologyKeys: ['b', 'a'] }];
  t.is(withDriver(list, 'd', INFO), list);
  t.is(withDriver(list, 'd', { ...INFO, nodeId: 'other' })[0]?.nodeID, 'other');
  t.is(withDriver(list, 'd', { ...INFO, maxVolumesPerNode: 0 })[0]?.allocatable, undefined);
});

test('the object waits for its Node, keeps other drivers, and comes back with what it had', async (t) => {
  const clock = createFakeClock();
  const client = createFakeKubeClient(clock);
  const keeper = createCsiNodeKeeper('n1', { client, clock, log: silentLogger });
  const stop = new AbortController();
  const running = keeper.run(stop.signal);
  await settle();
  t.is(client.peek(csiNodes, 'n1'), undefined);
  const annotations = { 'csi.volume.kubernetes.io/nodeid': '{"old":"x"}' };
  client.seed(nodes, { metadata: { name: 'n1', annotations }, spec: {} });
  await clock.advance(1000);
  await settle();
  t.deepEqual(client.peek(csiNodes, 'n1')?.spec.drivers, []);

  await keeper.record.add('d', INFO);
  const node = client.peek(nodes, 'n1')!;
  t.deepEqual(JSON.parse(node.metadata.annotations!['csi.volume.kubernetes.io/nodeid']!), { old: 'x', d: 'n' });
  t.like(node.metadata.labels, { a: '1', b: '2' });
  client.failNext('replace', 'csinodes', Object.assign(new Error('away')));
  await t.throwsAsync(keeper.record.add('e', { ...INFO, nodeId: 'm' }), { message: 'away' });

  await client.delete(csiNodes, { name: 'n1' });
  await clock.advance(300_000);
  await settle();
  t.deepEqual(
    client.peek(csiNodes, 'n1')?.spec.drivers.map(({ name }) => name),
    ['d'],
  );
  await keeper.record.remove('d');
  t.deepEqual(
    client.peek(csiNodes, 'n1')?.spec.drivers.map(({ name }) => name),
    [],
  );
  stop.abort();
  await running;
});

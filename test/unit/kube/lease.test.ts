import test from 'ava';
import { createLeaseKeeper } from '../../../src/kube/lease.ts';
import { leases } from '../../../src/kube/resources.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { createFakeClock, settle } from '../../fakes/clock.ts';
import { createFakeKubeClient, type FakeKubeClient } from '../../fakes/kube-client.ts';

function scene(prepare: (client: FakeKubeClient) => void = () => {}) {
  const clock = createFakeClock();
  const client = createFakeKubeClient(clock);
  prepare(client);
  const stop = new AbortController();
  let renewals = 0;
  const keeper = createLeaseKeeper(
    { namespace: 'kube-node-lease', name: 'n1', holderIdentity: 'n1', durationSeconds: 40 },
    {
      client,
      clock,
      log: silentLogger,
      random: () => 0,
      owner: () => ({ apiVersion: 'v1', kind: 'Node', name: 'n1', uid: 'u' }),
      onRenewed: () => renewals++,
    },
  );
  const done = keeper.run(stop.signal);
  const end = () => {
    stop.abort();
    return done;
  };
  return { clock, client, end, count: () => renewals, lease: () => client.peek(leases, 'kube-node-lease/n1') };
}

test('created with its owner, then renewed every quarter of the duration', async (t) => {
  const { clock, count, end, lease } = scene();
  await clock.advance(0);
  t.like(lease()?.spec, { holderIdentity: 'n1', leaseDurationSeconds: 40, renewTime: '2026-01-01T00:00:00.000000Z' });
  t.is(lease()?.metadata.ownerReferences?.[0]?.kind, 'Node');
  await clock.advance(10_000);
  t.is(lease()?.spec.renewTime, '2026-01-01T00:00:10.000000Z');
  t.is(count(), 2);
  await end();
});

test('a lost race and a deleted lease are got over within the cycle', async (t) => {
  const { clock, client, end, lease } = scene();
  await clock.advance(0);
  client.edit(leases, 'kube-node-lease/n1', (object) => {
    object.spec.leaseTransitions = 3;
  });
  await clock.advance(10_300);
  t.like(lease()?.spec, { leaseTransitions: 3, renewTime: '2026-01-01T00:00:10.200000Z' });
  await client.delete(leases, { namespace: 'kube-node-lease', name: 'n1' });
  await clock.advance(10_500);
  t.truthy(lease());
  await end();
});

test('a server that is away is asked a few times, then again next time', async (t) => {
  let asked = 0;
  let get: FakeKubeClient['get'] | undefined;
  const { clock, client, count, end } = scene((fake) => {
    get = fake.get;
    fake.get = async () => {
      asked++;
      throw new Error('away');
    };
  });
  await clock.advance(9_000);
  t.is(asked, 5);
  t.is(count(), 0);
  client.get = get!;
  await clock.advance(11_000);
  await settle();
  t.true(count() >= 1);
  await end();
});

test('a try that hangs is given up while the lease still holds', async (t) => {
  const { clock, client, count, end } = scene();
  await clock.advance(0);
  const { replace } = client;
  client.replace = ((_resource: unknown, _object: unknown, { signal }: { signal: AbortSignal }) =>
    new Promise((_, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    })) as never;
  await clock.advance(10_000);
  t.is(count(), 1);
  client.replace = replace;
  await clock.advance(10_500);
  t.is(count(), 2);
  await end();
});

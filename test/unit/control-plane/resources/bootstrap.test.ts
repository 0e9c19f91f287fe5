import test from 'ava';
import { createBootstrap } from '../../../../control-plane/resources/bootstrap.ts';
import { endpointSlices, endpoints, namespaces, serviceCidrs, services } from '../../../../src/kube/resources.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { createFakeClock } from '../../../fakes/clock.ts';
import { createFakeKubeClient } from '../../../fakes/kube-client.ts';

function bench(advertiseAddress = '192.168.0.5') {
  const clock = createFakeClock();
  const client = createFakeKubeClient(clock);
  const make = (securePort = 6443) =>
    createBootstrap(
      { advertiseAddress, securePort, serviceAddress: '10.96.0.1', serviceCidrs: ['10.96.0.0/12'] },
      { client, clock, log: silentLogger },
    );
  return { clock, client, make };
}

test('an empty cluster gets what belongs to it', async (t) => {
  const { client, make } = bench();
  await make().ensure();
  t.deepEqual(
    client
      .all(namespaces)
      .map(({ metadata }) => metadata.name)
      .sort(),
    ['default', 'kube-node-lease', 'kube-public', 'kube-system'],
  );
  t.deepEqual(client.peek(serviceCidrs, 'kubernetes')?.spec, { cidrs: ['10.96.0.0/12'] });
  const service = client.peek(services, 'default/kubernetes');
  t.like(service?.spec, { clusterIP: '10.96.0.1', ports: [{ name: 'https', port: 443, targetPort: 6443 }] });
  t.like(client.peek(endpointSlices, 'default/kubernetes'), {
    metadata: { labels: { 'kubernetes.io/service-name': 'kubernetes' } },
    addressType: 'IPv4',
    endpoints: [{ addresses: ['192.168.0.5'] }],
    ports: [{ name: 'https', port: 6443 }],
  });
  t.like(client.peek(endpoints, 'default/kubernetes'), { subsets: [{ addresses: [{ ip: '192.168.0.5' }] }] });
});

test('a second time it writes nothing', async (t) => {
  const { client, make } = bench();
  await make().ensure();
  const before = client.writes.length;
  await make().ensure();
  t.is(client.writes.length, before);
});

test('another port or address is followed', async (t) => {
  const { client, make } = bench();
  await make().ensure();
  await make(7443).ensure();
  t.is(client.peek(services, 'default/kubernetes')?.spec.ports?.[0]?.targetPort, 7443);
  t.is(client.peek(endpointSlices, 'default/kubernetes')?.ports?.[0]?.port, 7443);
});

test('a loopback address is not given to pods', async (t) => {
  const { client, make } = bench('127.0.0.1');
  await make().ensure();
  t.truthy(client.peek(services, 'default/kubernetes'));
  t.is(client.peek(endpointSlices, 'default/kubernetes'), undefined);
});

test('run keeps it so, and goes on after a failure', async (t) => {
  const { client, clock, make } = bench();
  client.failNext('create', 'services', new Error('not now'));
  const stop = new AbortController();
  const running = make().run(stop.signal);
  await clock.advance(0);
  t.is(client.peek(services, 'default/kubernetes'), undefined);
  await clock.advance(1_000);
  t.truthy(client.peek(services, 'default/kubernetes'));
  await client.delete(endpointSlices, { namespace: 'default', name: 'kubernetes' });
  await clock.advance(10_000);
  t.truthy(client.peek(endpointSlices, 'default/kubernetes'));
  stop.abort();
  await running;
});

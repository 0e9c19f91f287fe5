import test from 'ava';
import { createDnsService } from '../../../../control-plane/resources/dns-service.ts';
import { endpointSlices, services } from '../../../../src/kube/resources.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { createFakeClock } from '../../../fakes/clock.ts';
import { createFakeKubeClient } from '../../../fakes/kube-client.ts';

function world() {
  const clock = createFakeClock();
  const client = createFakeKubeClient(clock);
  const make = (port = 10053) =>
    createDnsService(
      { serviceAddress: '10.96.0.10', endpoint: { address: '192.168.0.5', port } },
      { client, clock, log: silentLogger },
    );
  return { client, make };
}

test('the Service that every pod asks, and the slice that leads to the server', async (t) => {
  const { client, make } = world();
  await make().ensure();
  t.like(client.peek(services, 'kube-system/kube-dns'), {
    metadata: { labels: { 'k8s-app': 'kube-dns' } },
    spec: {
      clusterIP: '10.96.0.10',
      ports: [
        { name: 'dns', protocol: 'UDP', port: 53 },
        { name: 'dns-tcp', protocol: 'TCP', port: 53 },
      ],
    },
  });
  t.like(client.peek(endpointSlices, 'kube-system/kube-dns'), {
    addressType: 'IPv4',
    endpoints: [{ addresses: ['192.168.0.5'], conditions: { ready: true } }],
    ports: [
      { name: 'dns', port: 10053 },
      { name: 'dns-tcp', port: 10053 },
    ],
  });
});

test('written once; mended when it was changed or the port is another one', async (t) => {
  const { client, make } = world();
  await make().ensure();
  const before = client.writes.length;
  await make().ensure();
  t.is(client.writes.length, before);
  client.edit(services, 'kube-system/kube-dns', (service) => {
    service.spec.selector = { 'k8s-app': 'kube-dns' };
  });
  await make(11053).ensure();
  t.is(client.peek(services, 'kube-system/kube-dns')?.spec.selector, undefined);
  t.is(client.peek(endpointSlices, 'kube-system/kube-dns')?.ports?.[0]?.port, 11053);
});

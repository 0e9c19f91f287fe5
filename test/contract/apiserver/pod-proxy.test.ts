/** pods/proxy and services/proxy over a whole API server: what they refuse, and in which words. What they reach is in e2e, where pods are. */
import test from 'ava';
import { endpointSlices, nodes, pods, serviceAccounts, services } from '../../../src/kube/resources.ts';
import { startTestControlPlane, type TestControlPlane } from '../../support/control-plane.ts';

let controlPlane: TestControlPlane;
test.before(async () => {
  controlPlane = await startTestControlPlane();
  await controlPlane.createNamespaces('default');
  const admin = await controlPlane.admin();
  await admin.create(serviceAccounts, { metadata: { name: 'default', namespace: 'default' } });
  await admin.create(nodes, { metadata: { name: 'n1' }, spec: {} });
  const addresses = { web: '192.0.2.7', inside: '127.0.0.1', link: '169.254.1.1', every: '0.0.0.0', new: '' };
  for (const [name, ip] of Object.entries(addresses)) {
    const pod = await admin.create(pods, {
      metadata: { name, namespace: 'default' },
      spec: { nodeName: 'n1', containers: [{ name: 'app', image: 'x' }] },
    });
    const status = { ...pod.status, phase: 'Running', ...(ip && { podIP: ip, podIPs: [{ ip }] }) };
    await admin.replace(pods, { ...pod, status } as typeof pod, { subresource: 'status' });
  }
  const ports = [{ name: 'http', port: 80 }];
  for (const name of ['web', 'empty'])
    await admin.create(services, { metadata: { name, namespace: 'default' }, spec: { ports } });
  const slice = (name: string, endpoints: object[]) =>
    admin.create(endpointSlices, {
      metadata: { name, namespace: 'default', labels: { 'kubernetes.io/service-name': 'web' } },
      addressType: 'IPv4',
      endpoints,
      ports: [{ name: 'http', port: 80 }],
    } as never);
  // Nobody's address, and one of a pod that does not have it.
  await slice('web-1', [{ addresses: ['192.0.2.99'] }]);
  await slice('web-2', [{ addresses: ['192.0.2.98'], targetRef: { kind: 'Pod', name: 'web', namespace: 'default' } }]);
});
test.after.always(() => controlPlane?.stop());

for (const [path, status, message] of [
  ['pods/ftp:web:80/proxy/', 400, /invalid pod request "ftp:web:80"/],
  ['pods/http:/proxy/', 404, /pods "http" not found/],
  ['pods/http::80/proxy/', 400, /invalid pod request/],
  ['pods/http:web:80:1/proxy/', 400, /invalid pod request/],
  ['pods/web:99999/proxy/', 400, /no number of a port/],
  ['pods/web:http/proxy/', 400, /no number of a port/],
  ['pods/nobody:80/proxy/', 404, /pods "nobody" not found/],
  ['pods/new/proxy/', 400, /address not allowed/],
  ['pods/inside:10250/proxy/pods', 400, /address not allowed/],
  ['pods/link/proxy/', 400, /address not allowed/],
  ['pods/every/proxy/', 400, /address not allowed/],
  ['services/gopher:web:80/proxy/', 400, /invalid service request/],
  ['services/nobody/proxy/', 404, /services "nobody" not found/],
  ['services/web:81/proxy/', 503, /no service port 81 found for service "web"/],
  ['services/web:other/proxy/', 503, /no endpoints available for service "web:other"/],
  ['services/empty:http/proxy/', 503, /no endpoints available for service "empty:http"/],
  // Addresses that no pod has are not gone to, whoever wrote them into a slice.
  ['services/web:http/proxy/', 503, /no endpoints available for service "web:http"/],
] as const)
  test(`refused: ${path}`, async (t) => {
    const admin = await controlPlane.admin();
    const answer = await admin.raw(`/api/v1/namespaces/default/${path}`, {});
    t.is(answer.statusCode, status);
    t.regex(await answer.body.text(), new RegExp(message.source.replaceAll('"', '\\\\"')));
  });

test('who may not is not let through, and a path without its slash is sent to the one with it', async (t) => {
  const stranger = await controlPlane.client('nobody', []);
  for (const path of ['pods/web:80/proxy/', 'services/web:80/proxy/'])
    t.is((await stranger.raw(`/api/v1/namespaces/default/${path}`, {})).statusCode, 403);
  const admin = await controlPlane.admin();
  const { statusCode, headers } = await admin.raw('/api/v1/namespaces/default/pods/web:80/proxy', {
    query: { a: '1' },
  });
  t.is(statusCode, 301);
  t.is(headers['location'], '/api/v1/namespaces/default/pods/web:80/proxy/?a=1');
});

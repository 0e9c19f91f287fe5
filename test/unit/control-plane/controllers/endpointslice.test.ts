import test from 'ava';
import { computeEndpoints } from '../../../../control-plane/controllers/endpoint.ts';
import { createEndpointSliceController } from '../../../../control-plane/controllers/endpointslice.ts';
import { packSlices } from '../../../../control-plane/controllers/endpointslice-packing.ts';
import { endpointSlices, nodes, pods, services } from '../../../../src/kube/resources.ts';
import type {
  DiscoveryEndpointPort,
  Draft,
  Endpoint,
  EndpointSlice,
  Service,
  ServicePort,
} from '../../../../src/kube/types.ts';
import { createScene, draftNode, draftPod, makePod } from './scene.ts';

const PORT: ServicePort = { name: 'http', port: 80, targetPort: 8080, protocol: 'TCP' };

function draftService(spec: object = {}): Draft<Service> {
  return {
    metadata: { name: 'web', namespace: 'default', labels: { team: 'a' } },
    spec: { selector: { app: 'web' }, clusterIP: '10.96.0.9', ipFamilies: ['IPv4'], ports: [PORT], ...spec },
  };
}

const service = (spec: object = {}) => draftService(spec) as Service;
const noNode = () => undefined;

const conditions: [what: string, pod: object, service: object, expected: object][] = [
  ['a ready pod', { ready: true }, {}, { ready: true, serving: true, terminating: false }],
  ['one that is not ready', {}, {}, { ready: false, serving: false, terminating: false }],
  [
    'published though not ready',
    {},
    { publishNotReadyAddresses: true },
    { ready: true, serving: false, terminating: false },
  ],
  [
    'a terminating one that still serves',
    { ready: true, metadata: { deletionTimestamp: '2026-01-01T00:00:30Z' } },
    {},
    { ready: false, serving: true, terminating: true },
  ],
];
for (const [what, pod, spec, expected] of conditions)
  test(`conditions of ${what}`, (t) => {
    const [group] = computeEndpoints(service(spec), [makePod('a', { ip: '10.0.0.1', ...pod })], 'IPv4', noNode);
    t.deepEqual(group!.endpoints[0]!.conditions, expected);
  });

test('pods without address of the family, and finished ones, make no endpoint', (t) => {
  const found = [
    makePod('a'),
    makePod('b', { ip: 'fd00::1' }),
    makePod('c', { ip: '10.0.0.1', status: { phase: 'Failed' } }),
  ];
  t.deepEqual(computeEndpoints(service(), found, 'IPv4', noNode), []);
  t.is(computeEndpoints(service(), found, 'IPv6', noNode)[0]!.endpoints[0]!.addresses[0], 'fd00::1');
});

test('named target ports are looked up in each pod; pods that differ go to different groups', (t) => {
  const named = service({ ports: [{ ...PORT, targetPort: 'http' }] });
  const withPort = (name: string, containerPort: number) =>
    makePod(name, {
      ip: '10.0.0.1',
      spec: { containers: [{ name: 'c', image: 'i', ports: [{ name: 'http', containerPort }] }] },
    });
  const groups = computeEndpoints(
    named,
    [withPort('a', 8080), withPort('b', 9090), makePod('c', { ip: '10.0.0.3' })],
    'IPv4',
    noNode,
  );
  t.deepEqual(
    groups.map(({ ports, endpoints }) => [ports[0]!.port, endpoints.length]),
    [
      [8080, 1],
      [9090, 1],
    ],
  );
});

test('hostname only under the right subdomain', (t) => {
  const of = (subdomain: string) =>
    computeEndpoints(
      service(),
      [makePod('a', { ip: '10.0.0.1', spec: { hostname: 'h', subdomain } })],
      'IPv4',
      noNode,
    )[0]!.endpoints[0]!.hostname;
  t.is(of('web'), 'h');
  t.is(of('other'), undefined);
});

const endpoint = (index: number): Endpoint => ({
  addresses: [`10.0.${index >> 8}.${index & 255}`],
  conditions: { ready: true },
  targetRef: { kind: 'Pod', uid: `u${index}` },
});
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => endpoint(from + index));
const ports: DiscoveryEndpointPort[] = [{ name: 'http', port: 8080, protocol: 'TCP' }];
const slice = (name: string, endpoints: Endpoint[]) => ({ metadata: { name }, ports, endpoints }) as EndpointSlice;
const packed = (wanted: Endpoint[], existing: EndpointSlice[]) => {
  const plan = packSlices([{ ports, endpoints: wanted }], existing);
  return {
    create: plan.create.map((one) => one.endpoints.length),
    update: plan.update.map((one) => [one.slice.metadata.name, one.endpoints.length]),
    remove: plan.remove.map((one) => one.metadata.name),
    keep: plan.keep.map((one) => one.metadata.name),
  };
};

test('packing: 250 endpoints make three slices of at most 100', (t) => {
  t.deepEqual(packed(range(0, 250), []), { create: [100, 100, 50], update: [], remove: [], keep: [] });
});

test('packing: what is right stays, one changed endpoint is one write', (t) => {
  const existing = [slice('a', range(0, 100)), slice('b', range(100, 150))];
  t.deepEqual(packed(range(0, 150), existing), { create: [], update: [], remove: [], keep: ['a', 'b'] });
  t.deepEqual(packed(range(0, 151), existing), { create: [], update: [['b', 51]], remove: [], keep: ['a'] });
  t.deepEqual(packed(range(1, 151), existing), { create: [], update: [['a', 100]], remove: [], keep: ['b'] });
});

test('packing: emptied slices go, but one placeholder stays', (t) => {
  const existing = [slice('a', range(0, 100)), slice('b', range(100, 110))];
  t.deepEqual(packed(range(0, 100), existing), { create: [], update: [], remove: ['b'], keep: ['a'] });
  const empty = packSlices([], [slice('a', range(0, 1))]);
  t.deepEqual([empty.create.length, empty.remove.length], [1, 1]);
  const placeholder = { metadata: { name: 'p' }, ports: [], endpoints: [] } as unknown as EndpointSlice;
  t.deepEqual(packSlices([], [placeholder]).keep, [placeholder]);
});

test('the controller writes slices with labels, owner and trigger time, and follows pods', async (t) => {
  const scene = createScene(t);
  const owner = scene.client.seed(services, draftService({ clusterIP: 'None' }));
  scene.client.seed(nodes, draftNode('n1', { labels: { 'topology.kubernetes.io/zone': 'z' } }));
  scene.client.seed(pods, draftPod('a', { ready: '2026-01-01T00:00:05Z', ip: '10.0.0.1', spec: { nodeName: 'n1' } }));
  scene.client.seed(pods, draftPod('b', { labels: { app: 'other' }, ready: true, ip: '10.0.0.2' }));
  await scene.start(createEndpointSliceController(scene.dependencies));
  const [made] = scene.client.all(endpointSlices);
  t.regex(made!.metadata.name, /^web-/);
  t.deepEqual(made!.metadata.labels, {
    team: 'a',
    'kubernetes.io/service-name': 'web',
    'endpointslice.kubernetes.io/managed-by': 'endpointslice-controller.k8s.io',
    'service.kubernetes.io/headless': '',
  });
  t.like(made!.metadata.ownerReferences![0], { kind: 'Service', uid: owner.metadata.uid, controller: true });
  t.is(made!.metadata.annotations!['endpoints.kubernetes.io/last-change-trigger-time'], '2026-01-01T00:00:00Z');
  t.is(made!.addressType, 'IPv4');
  t.deepEqual(made!.ports, [{ name: 'http', port: 8080, protocol: 'TCP' }]);
  t.like(made!.endpoints![0], { addresses: ['10.0.0.1'], nodeName: 'n1', zone: 'z' });
  t.like(made!.endpoints![0]!.targetRef, { kind: 'Pod', namespace: 'default', name: 'a' });

  scene.client.edit(pods, 'default/a', (pod) => {
    pod.status!.conditions = [{ type: 'Ready', status: 'False', lastTransitionTime: '2026-01-01T00:01:00Z' }];
  });
  await scene.settle();
  const [changed] = scene.client.all(endpointSlices);
  t.false(changed!.endpoints![0]!.conditions!.ready);
  t.is(changed!.metadata.annotations!['endpoints.kubernetes.io/last-change-trigger-time'], '2026-01-01T00:01:00Z');

  const writes = scene.client.writes.length;
  scene.client.edit(pods, 'default/a', (pod) => {
    pod.status!.message = 'irrelevant';
  });
  await scene.settle();
  t.is(scene.client.writes.length, writes, 'nothing is written for what endpoints do not show');
  await scene.client.delete(pods, { namespace: 'default', name: 'a', gracePeriodSeconds: 0 });
  await scene.settle();
  t.deepEqual(
    scene.client.all(endpointSlices).map(({ endpoints }) => endpoints),
    [[]],
  );
});

test('services without selector and ExternalName ones are not its business', async (t) => {
  const scene = createScene(t);
  scene.client.seed(services, draftService({ selector: undefined }));
  await scene.start(createEndpointSliceController(scene.dependencies));
  t.deepEqual(scene.client.writes, []);
});

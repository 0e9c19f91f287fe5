import test from 'ava';
import type { ObjectSubresource } from '../../../../control-plane/apiserver/definition.ts';
import { configMaps } from '../../../../control-plane/resources/configmaps.ts';
import { endpoints } from '../../../../control-plane/resources/endpoints.ts';
import { endpointSlices } from '../../../../control-plane/resources/endpointslices.ts';
import { events } from '../../../../control-plane/resources/events.ts';
import { leases } from '../../../../control-plane/resources/leases.ts';
import { namespaces } from '../../../../control-plane/resources/namespaces.ts';
import { nodes } from '../../../../control-plane/resources/nodes.ts';
import { secrets } from '../../../../control-plane/resources/secrets.ts';
import type {
  ConfigMap,
  EndpointSlice,
  Endpoints,
  Event,
  Namespace,
  Node,
  Secret,
} from '../../../../src/kube/types.ts';
import { errorTexts, meta, NOW_MS, strategyContext } from '../../../support/strategy-context.ts';

const created = { creationTimestamp: '2026-01-02T03:04:00Z' };
const clusterMeta = (name: string) => meta(name, { namespace: undefined, ...created });

// Namespaces

test('a new namespace is active, labelled and held by its finalizer', async (t) => {
  const namespace: Namespace = { metadata: clusterMeta('team'), spec: {} };
  namespaces.applyDefaults(namespace);
  await namespaces.prepareForCreate(namespace, strategyContext());
  t.deepEqual(namespace.metadata.labels, { 'kubernetes.io/metadata.name': 'team' });
  t.deepEqual(namespace.spec.finalizers, ['kubernetes']);
  t.deepEqual(namespace.status, { phase: 'Active' });
  t.true(namespaces.isHeld!(namespace));
  namespaces.markDeleted!(namespace);
  t.is(namespace.status?.phase, 'Terminating');
  t.deepEqual(
    namespaces.columns.map((one) => one.cell(namespace, NOW_MS)),
    ['team', 'Terminating', '5s'],
  );
});

test('a generated name is in the label', async (t) => {
  const namespace: Namespace = { metadata: { ...clusterMeta(''), generateName: 'team-' }, spec: {} };
  namespaces.applyDefaults(namespace);
  await namespaces.prepareForCreate(namespace, strategyContext());
  t.is(namespace.metadata.labels, undefined);
  namespace.metadata.name = 'team-x2x4z';
  await namespaces.begin!(namespace, undefined, strategyContext());
  t.deepEqual(namespace.metadata.labels, { 'kubernetes.io/metadata.name': 'team-x2x4z' });
});

for (const name of ['default', 'kube-system', 'kube-public'])
  test(`namespace ${name} stays`, (t) => {
    t.throws(() => namespaces.checkDelete!({ metadata: clusterMeta(name), spec: {} }, strategyContext()), {
      message: `namespaces "${name}" is forbidden: this namespace may not be deleted`,
    });
  });

test('other namespaces may go', (t) => {
  t.notThrows(() => namespaces.checkDelete!({ metadata: clusterMeta('kube-node-lease'), spec: {} }, strategyContext()));
});

test('only /finalize takes finalizers away, and nothing else', async (t) => {
  const old: Namespace = {
    metadata: { ...clusterMeta('team'), labels: { a: 'b' } },
    spec: { finalizers: ['kubernetes'] },
    status: { phase: 'Terminating' },
  };
  const put: Namespace = { metadata: old.metadata, spec: {}, status: { phase: 'Active' } };
  await namespaces.prepareForUpdate(put, old, strategyContext());
  t.deepEqual(put, old);
  const finalized: Namespace = { metadata: old.metadata, spec: {}, status: { phase: 'Active' } };
  await (namespaces.subresources['finalize'] as ObjectSubresource<Namespace>).prepareForUpdate(
    finalized,
    old,
    strategyContext(),
  );
  t.false(namespaces.isHeld!(finalized));
  t.is(finalized.status?.phase, 'Terminating');
});

// Nodes

const makeNode = (rest: Partial<Node> = {}): Node => ({ metadata: clusterMeta('n1'), spec: {}, ...rest });

test('a node registers with its status and a taint until it is ready', async (t) => {
  const node = makeNode({ status: { capacity: { cpu: '2000m', memory: '1024Mi' } } });
  nodes.applyDefaults(node);
  await nodes.prepareForCreate(node, strategyContext());
  t.deepEqual(node.status, {
    capacity: { cpu: '2', memory: '1Gi' },
    allocatable: { cpu: '2', memory: '1Gi' },
  });
  t.deepEqual(node.spec.taints, [{ key: 'node.kubernetes.io/not-ready', effect: 'NoSchedule' }]);
});

test('the pod CIDR is set once', (t) => {
  const problems = (before: string[], after: string[]) =>
    errorTexts(nodes.validateUpdate(makeNode({ spec: { podCIDRs: after } }), makeNode({ spec: { podCIDRs: before } })));
  t.deepEqual(problems([], ['10.244.0.0/24']), []);
  t.deepEqual(problems(['10.244.0.0/24'], ['10.244.1.0/24']), [
    'spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid',
  ]);
});

test('taints are unique and have an effect', (t) => {
  const taints = [
    { key: 'a', effect: 'NoSchedule' as const },
    { key: 'a', effect: 'NoSchedule' as const },
    { key: 'b', effect: '' as never },
  ];
  t.deepEqual(errorTexts(nodes.validate(makeNode({ spec: { taints } }))), [
    'metadata.taints[1]: Duplicate value: {"key":"a","effect":"NoSchedule"}: taints must be unique by key and effect pair',
    'metadata.taints[2].effect: Required value',
  ]);
});

test('columns of a node', (t) => {
  const node: Node = {
    metadata: {
      ...clusterMeta('n1'),
      labels: { 'node-role.kubernetes.io/worker': '', 'node-role.kubernetes.io/control-plane': '' },
    },
    spec: { unschedulable: true },
    status: {
      conditions: [{ type: 'Ready', status: 'True' }],
      addresses: [{ type: 'InternalIP', address: '10.0.0.1' }],
      nodeInfo: {
        kubeletVersion: 'v1.36.0-berth',
        osImage: 'Debian',
        containerRuntimeVersion: 'docker://20.10',
      } as never,
    },
  };
  t.deepEqual(
    nodes.columns.map((one) => one.cell(node, NOW_MS)),
    [
      'n1',
      'Ready,SchedulingDisabled',
      'control-plane,worker',
      '5s',
      'v1.36.0-berth',
      '10.0.0.1',
      '<none>',
      'Debian',
      '<unknown>',
      'docker://20.10',
    ],
  );
  t.is(nodes.columns[1]?.cell(makeNode(), NOW_MS), 'Unknown');
});

// ConfigMaps and Secrets

test('keys of a config map', (t) => {
  const configMap: ConfigMap = { metadata: meta('m'), data: { 'a/b': '', ok: '', both: '' }, binaryData: { both: '' } };
  t.deepEqual(errorTexts(configMaps.validate(configMap)), [
    "data[a/b]: Invalid value: \"a/b\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
    'data[both]: Invalid value: "both": duplicate of key present in binaryData',
  ]);
  t.is(configMaps.columns[1]?.cell(configMap, NOW_MS), 4);
});

test('a config map has an end', (t) => {
  const configMap: ConfigMap = { metadata: meta('m'), data: { a: 'x'.repeat(1024 * 1024 + 1) } };
  t.deepEqual(errorTexts(configMaps.validate(configMap)), [': Too long: may not be more than 1048576 bytes']);
});

test('immutable is for ever', (t) => {
  const old: ConfigMap = { metadata: meta('m'), immutable: true, data: { a: '1' } };
  t.deepEqual(errorTexts(configMaps.validateUpdate({ ...old, data: { a: '2' } }, old)), [
    'data: Forbidden: field is immutable when `immutable` is set',
  ]);
  t.deepEqual(errorTexts(configMaps.validateUpdate({ metadata: meta('m'), data: { a: '1' } }, old)), [
    'immutable: Forbidden: field is immutable when `immutable` is set',
  ]);
});

test('stringData goes over data', (t) => {
  const secret: Secret = { metadata: meta('s'), data: { a: 'MQ==', b: 'Mg==' }, stringData: { a: 'one' } };
  secrets.applyDefaults(secret);
  t.deepEqual(secret, { metadata: meta('s'), type: 'Opaque', data: { a: 'b25l', b: 'Mg==' } });
});

const secretCases: [string, Partial<Secret>, string[]][] = [
  ['tls', { type: 'kubernetes.io/tls' }, ['data[tls.crt]: Required value', 'data[tls.key]: Required value']],
  ['ssh', { type: 'kubernetes.io/ssh-auth' }, ['data[ssh-privatekey]: Required value']],
  ['basic-auth', { type: 'kubernetes.io/basic-auth', data: { username: '' } }, []],
  [
    'dockerconfigjson',
    { type: 'kubernetes.io/dockerconfigjson', data: { '.dockerconfigjson': Buffer.from('[]').toString('base64') } },
    ['data[.dockerconfigjson]: Invalid value: "<secret contents redacted>": not a JSON object'],
  ],
  [
    'account token',
    { type: 'kubernetes.io/service-account-token' },
    ['metadata.annotations[kubernetes.io/service-account.name]: Required value'],
  ],
];
for (const [what, rest, expected] of secretCases)
  test(`a secret of type ${what}`, (t) => {
    t.deepEqual(errorTexts(secrets.validate({ metadata: meta('s'), ...rest })), expected);
  });

test('a secret’s type stays', (t) => {
  const old: Secret = { metadata: meta('s'), type: 'Opaque' };
  t.deepEqual(errorTexts(secrets.validateUpdate({ ...old, type: 'kubernetes.io/tls' }, old)), [
    'type: Invalid value: "kubernetes.io/tls": field is immutable',
  ]);
});

// Leases, events, endpoints

test('leases last', (t) => {
  t.deepEqual(
    errorTexts(leases.validate({ metadata: meta('l'), spec: { leaseDurationSeconds: 0, leaseTransitions: -1 } })),
    [
      'spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0',
      'spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0',
    ],
  );
  t.false(leases.allowUnconditionalUpdate);
});

const makeEvent = (rest: Partial<Event> = {}): Event =>
  ({
    metadata: meta('e'),
    involvedObject: { kind: 'Pod', namespace: 'default', name: 'p', fieldPath: 'spec.containers{c}' },
    type: 'Normal',
    reason: 'Started',
    message: 'Started container\n',
    source: { component: 'kubelet', host: 'n1' },
    firstTimestamp: '2026-01-02T03:00:05Z',
    lastTimestamp: '2026-01-02T03:04:00Z',
    count: 3,
    ...rest,
  }) as Event;

test('columns of an event', (t) => {
  t.deepEqual(
    events.columns.map((one) => one.cell(makeEvent(), NOW_MS)),
    ['5s', 'Normal', 'Started', 'pod/p', 'spec.containers{c}', 'kubelet, n1', 'Started container', '4m', '3', 'e'],
  );
});

test('an event of the new style', (t) => {
  const event = makeEvent({
    firstTimestamp: undefined,
    lastTimestamp: undefined,
    count: undefined,
    source: undefined,
    eventTime: '2026-01-02T03:03:05.000000Z',
    reportingComponent: 'berth.io/agent',
    reportingInstance: 'n1',
    action: 'Start',
  });
  t.deepEqual(events.validate(event), []);
  t.deepEqual(
    events.columns.map((one) => one.cell(event, NOW_MS)),
    [
      '60s',
      'Normal',
      'Started',
      'pod/p',
      'spec.containers{c}',
      'berth.io/agent, n1',
      'Started container',
      '60s',
      '1',
      'e',
    ],
  );
  t.deepEqual(errorTexts(events.validate({ ...event, action: '', reportingComponent: '' })), [
    'reportingController: Required value',
    'action: Required value',
  ]);
});

test('an event lives beside what it is about', (t) => {
  const event = makeEvent({ involvedObject: { kind: 'Pod', namespace: 'other', name: 'p' } });
  t.deepEqual(errorTexts(events.validate(event)), [
    'involvedObject.namespace: Invalid value: "other": does not match event.namespace',
  ]);
  t.deepEqual(events.validate(makeEvent({ involvedObject: { kind: 'Node', name: 'n' } })), []);
});

test('endpoint slices', (t) => {
  const slice: EndpointSlice = {
    metadata: meta('s-1', created),
    addressType: 'IPv4',
    endpoints: [{ addresses: ['10.0.0.1'] }, { addresses: ['10.0.0.2', '10.0.0.3', '10.0.0.4'] }],
    ports: [{ port: 80 }, { name: 'x', port: 81, protocol: 'UDP' }],
  };
  endpointSlices.applyDefaults(slice);
  t.deepEqual(slice.ports, [
    { port: 80, name: '', protocol: 'TCP' },
    { name: 'x', port: 81, protocol: 'UDP' },
  ]);
  t.deepEqual(endpointSlices.validate(slice), []);
  t.deepEqual(
    endpointSlices.columns.map((one) => one.cell(slice, NOW_MS)),
    ['s-1', 'IPv4', '80,81', '10.0.0.1,10.0.0.2,10.0.0.3 + 1 more...', '5s'],
  );
  t.deepEqual(errorTexts(endpointSlices.validateUpdate({ ...slice, addressType: 'IPv6' }, slice)), [
    'addressType: Invalid value: "IPv6": field is immutable',
  ]);
  const bad: EndpointSlice = {
    metadata: meta('s'),
    addressType: 'IPv4',
    endpoints: [{ addresses: [] }, { addresses: ['fd00::1'] }, { addresses: ['127.0.0.1'] }],
  };
  t.deepEqual(errorTexts(endpointSlices.validate(bad)), [
    'endpoints[0].addresses: Required value: must contain at least 1 address',
    'endpoints[1].addresses[0]: Invalid value: "fd00::1": must be a valid IPv4 address',
    'endpoints[2].addresses[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)',
  ]);
  t.true(endpointSlices.generationChanged!({ ...slice, endpoints: [] }, slice));
  t.false(endpointSlices.generationChanged!({ ...slice, metadata: meta('x') }, slice));
});

test('endpoints warn and print', async (t) => {
  const object: Endpoints = {
    metadata: meta('e', created),
    subsets: [{ addresses: [{ ip: '10.0.0.1' }, { ip: '10.0.0.2' }], ports: [{ port: 80 }] }],
  };
  endpoints.applyDefaults(object);
  const context = strategyContext();
  await endpoints.prepareForCreate(object, context);
  t.is(context.warnings.length, 1);
  t.deepEqual(endpoints.validate(object), []);
  t.is(endpoints.columns[1]?.cell(object, NOW_MS), '10.0.0.1:80,10.0.0.2:80');
  t.deepEqual(errorTexts(endpoints.validate({ metadata: meta('e'), subsets: [{}] })), [
    'subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`',
  ]);
});

import test from 'ava';
import { reasonsAgainst } from '../../../../control-plane/scheduler/filters.ts';
import { createSchedulerCache } from '../../../../control-plane/scheduler/node-info.ts';
import { renderRefusal, sampleSize } from '../../../../control-plane/scheduler/placement.ts';
import type { StorageView } from '../../../../control-plane/scheduler/pod-volumes.ts';
import { podRequests } from '../../../../control-plane/scheduler/requests.ts';
import { bestNode } from '../../../../control-plane/scheduler/scoring.ts';
import type { Node, Pod } from '../../../../src/kube/types.ts';
import { makeNode, makePod } from '../controllers/scene.ts';

const running = (name: string, nodeName: string, spec: object = {}, labels: Record<string, string> = { app: 'web' }) =>
  makePod(name, { labels, spec: { nodeName, ...spec } });

const NO_STORAGE: StorageView = {
  claim: () => undefined,
  volume: () => undefined,
  volumes: () => [],
  storageClass: () => undefined,
  csiNode: () => undefined,
};

function reasons(pod: Pod, nodes: Node[], existing: Pod[] = [], onto = nodes[0]!.metadata.name) {
  const cache = createSchedulerCache();
  for (const node of nodes) cache.setNode(node);
  for (const one of existing) cache.setPod(one);
  return reasonsAgainst(pod, cache.node(onto)!, {
    nodes: cache.nodes(),
    namespaceOf: () => undefined,
    storage: NO_STORAGE,
  });
}

const requests = (amounts: Record<string, string>) => ({
  containers: [{ name: 'c', image: 'i', resources: { requests: amounts } }],
});
const hostPort = (port: number, hostIP?: string, protocol?: string) => ({
  containers: [{ name: 'c', image: 'i', ports: [{ containerPort: 80, hostPort: port, hostIP, protocol }] }],
});
const required = (matchExpressions: object[], matchFields: object[] = []) => ({
  affinity: {
    nodeAffinity: {
      requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [{ matchExpressions, matchFields }] },
    },
  },
});

const NODE = makeNode('n1', { labels: { disk: 'ssd', cores: '8' } });
const TAINT = { key: 'dedicated', value: 'gpu', effect: 'NoSchedule' };
const TAINTED = makeNode('n1', { spec: { taints: [TAINT] } });
const SELECTOR_REASON = "node(s) didn't match Pod's node affinity/selector";
const PORT_REASON = "node(s) didn't have free ports for the requested pod ports";
const TAINT_REASON = 'node(s) had untolerated taint {dedicated: gpu}';

const cases: [what: string, pod: object, node: Node, existing: Pod[], expected: string[]][] = [
  ['a plain pod', {}, NODE, [], []],
  ['another node by name', { nodeName: 'n2' }, NODE, [], ["node(s) didn't match the requested node name"]],
  ['a cordoned node', {}, makeNode('n1', { spec: { unschedulable: true } }), [], ['node(s) were unschedulable']],
  ['a taint', {}, TAINTED, [], [TAINT_REASON]],
  ['a tolerated taint', { tolerations: [{ key: 'dedicated', value: 'gpu' }] }, TAINTED, [], []],
  ['a toleration of another value', { tolerations: [{ key: 'dedicated', value: 'x' }] }, TAINTED, [], [TAINT_REASON]],
  ['Exists without key tolerates all', { tolerations: [{ operator: 'Exists' }] }, TAINTED, [], []],
  ['another effect', { tolerations: [{ operator: 'Exists', effect: 'NoExecute' }] }, TAINTED, [], [TAINT_REASON]],
  ['PreferNoSchedule', {}, makeNode('n1', { spec: { taints: [{ key: 'a', effect: 'PreferNoSchedule' }] } }), [], []],
  ['a node selector', { nodeSelector: { disk: 'ssd' } }, NODE, [], []],
  ['an unmet selector', { nodeSelector: { disk: 'hdd' } }, NODE, [], [SELECTOR_REASON]],
  ['affinity In', required([{ key: 'disk', operator: 'In', values: ['ssd'] }]), NODE, [], []],
  ['affinity Gt', required([{ key: 'cores', operator: 'Gt', values: ['4'] }]), NODE, [], []],
  ['affinity Lt', required([{ key: 'cores', operator: 'Lt', values: ['4'] }]), NODE, [], [SELECTOR_REASON]],
  ['affinity DoesNotExist', required([{ key: 'disk', operator: 'DoesNotExist' }]), NODE, [], [SELECTOR_REASON]],
  ['an empty term matches nothing', required([]), NODE, [], [SELECTOR_REASON]],
  ['matchFields', required([], [{ key: 'metadata.name', operator: 'In', values: ['n1'] }]), NODE, [], []],
  [
    'other matchFields',
    required([], [{ key: 'metadata.name', operator: 'In', values: ['x'] }]),
    NODE,
    [],
    [SELECTOR_REASON],
  ],
  ['enough cpu', requests({ cpu: '4' }), NODE, [], []],
  [
    'too little left',
    requests({ cpu: '3' }),
    NODE,
    [running('a', 'n1', requests({ cpu: '1500m' }))],
    ['Insufficient cpu'],
  ],
  ['several resources', requests({ cpu: '5', memory: '9Gi' }), NODE, [], ['Insufficient cpu', 'Insufficient memory']],
  ['an extended resource', requests({ 'example.com/gpu': '1' }), NODE, [], ['Insufficient example.com/gpu']],
  ['the pod limit', {}, makeNode('n1', { allocatable: { pods: '1' } }), [running('a', 'n1')], ['Too many pods']],
  ['a host port', hostPort(80), NODE, [running('a', 'n1', hostPort(80))], [PORT_REASON]],
  ['another protocol', hostPort(80, undefined, 'UDP'), NODE, [running('a', 'n1', hostPort(80))], []],
  ['other addresses', hostPort(80, '10.0.0.1'), NODE, [running('a', 'n1', hostPort(80, '10.0.0.2'))], []],
  ['all addresses', hostPort(80, '10.0.0.1'), NODE, [running('a', 'n1', hostPort(80))], [PORT_REASON]],
];

for (const [what, spec, node, existing, expected] of cases)
  test(`filter: ${what}`, (t) => {
    t.deepEqual(reasons(makePod('new', { spec }), [node], existing), expected);
  });

const term = (app: string, topologyKey = 'kubernetes.io/hostname', extra: object = {}) => ({
  requiredDuringSchedulingIgnoredDuringExecution: [{ topologyKey, labelSelector: { matchLabels: { app } }, ...extra }],
});
const affine = (app: string, key?: string) => ({ affinity: { podAffinity: term(app, key) } });
const averse = (app: string, key?: string, extra?: object) => ({
  affinity: { podAntiAffinity: term(app, key, extra) },
});

test('required pod affinity: company on the node, in the zone, or none yet', (t) => {
  const [n1, n2] = [makeNode('n1', { labels: { zone: 'a' } }), makeNode('n2', { labels: { zone: 'a' } })];
  const db = running('db', 'n2', {}, { app: 'db' });
  const reason = ["node(s) didn't match pod affinity rules"];
  t.deepEqual(reasons(makePod('p', { spec: affine('db') }), [n1, n2], [db]), reason);
  t.deepEqual(reasons(makePod('p', { spec: affine('db') }), [n1, n2], [db], 'n2'), []);
  t.deepEqual(reasons(makePod('p', { spec: affine('db', 'zone') }), [n1, n2], [db]), []);
  t.deepEqual(reasons(makePod('p', { spec: affine('web') }), [n1]), [], 'the first of a group');
  t.deepEqual(reasons(makePod('p', { spec: affine('absent') }), [n1]), reason);
});

test('required pod anti-affinity holds both ways, and in its namespaces only', (t) => {
  const [n1, n2] = [makeNode('n1'), makeNode('n2')];
  const web = running('w', 'n1');
  t.deepEqual(reasons(makePod('p', { spec: averse('web') }), [n1, n2], [web]), [
    "node(s) didn't match pod anti-affinity rules",
  ]);
  t.deepEqual(reasons(makePod('p', { spec: averse('web') }), [n1, n2], [web], 'n2'), []);
  t.deepEqual(reasons(makePod('p', { spec: averse('web', undefined, { namespaces: ['x'] }) }), [n1], [web]), []);
  const hermit = running('h', 'n1', averse('web'), { app: 'hermit' });
  t.deepEqual(reasons(makePod('p'), [n1], [hermit]), ["node(s) didn't satisfy existing pods anti-affinity rules"]);
});

test('requests: containers and sidecars, or the largest init step, plus overhead', (t) => {
  const container = (cpu: string, extra: object = {}) => ({
    name: 'c',
    image: 'i',
    resources: { requests: { cpu } },
    ...extra,
  });
  const of = (spec: object) => podRequests(makePod('p', { spec })).get('cpu');
  t.is(of({ containers: [container('100m'), container('200m')] }), 300);
  t.is(of({ containers: [container('100m')], initContainers: [container('500m')] }), 500);
  const sidecar = container('50m', { restartPolicy: 'Always' });
  t.is(of({ containers: [container('100m')], initContainers: [sidecar, container('200m')] }), 250);
  t.is(of({ containers: [container('100m')], initContainers: [sidecar], overhead: { cpu: '10m' } }), 160);
});

test('requests of a pod that is being resized: the largest of what was asked, allocated and is in use', (t) => {
  const of = (asked: string, allocated: string, actual: string, status: object = {}) =>
    podRequests({
      ...makePod('p', { spec: { containers: [{ name: 'c', image: 'i', resources: { requests: { cpu: asked } } }] } }),
      status: {
        containerStatuses: [
          { name: 'c', allocatedResources: { cpu: allocated }, resources: { requests: { cpu: actual } } },
        ],
        ...status,
      },
    } as never).get('cpu');
  t.is(of('300m', '100m', '100m'), 300);
  t.is(of('100m', '300m', '300m'), 300);
  t.is(of('100m', '100m', '300m'), 300);
  const conditions = [{ type: 'PodResizePending', status: 'True', reason: 'Infeasible' }];
  t.is(of('9', '100m', '200m', { conditions }), 200);
  t.is(of('9', '100m', '200m', { conditions: [{ ...conditions[0], reason: 'Deferred' }] }), 9000);
});

const spread = (key: string, extra: object = {}) => ({
  topologySpreadConstraints: [
    {
      topologyKey: key,
      maxSkew: 1,
      whenUnsatisfiable: 'DoNotSchedule',
      labelSelector: { matchLabels: { app: 'web' } },
      ...extra,
    },
  ],
});

test('required topology spread: skew, missing labels, minDomains, nodes that can not be used', (t) => {
  const [n1, n2] = [makeNode('n1', { labels: { zone: 'a' } }), makeNode('n2', { labels: { zone: 'b' } })];
  const web = running('w', 'n1');
  const reason = ["node(s) didn't match pod topology spread constraints"];
  const pod = makePod('p', { spec: spread('zone') });
  t.deepEqual(reasons(pod, [n1, n2], [web]), reason);
  t.deepEqual(reasons(pod, [n1, n2], [web], 'n2'), []);
  t.deepEqual(reasons(makePod('p', { spec: spread('rack') }), [n1]), [`${reason[0]} (missing required label)`]);
  t.deepEqual(
    reasons(makePod('p', { spec: spread('zone', { minDomains: 3 }) }), [n1, n2], [web, running('v', 'n2')]),
    reason,
  );
  const selecting = { ...spread('zone'), nodeSelector: { zone: 'a' } };
  t.deepEqual(reasons(makePod('p', { spec: selecting }), [n1, n2], [web]), [], 'n2 does not count');
  t.deepEqual(
    reasons(
      makePod('p', { spec: spread('zone', { matchLabelKeys: ['v'] }), labels: { app: 'web', v: '2' } }),
      [n1, n2],
      [web],
    ),
    [],
  );
});

test('scoring prefers room, preferred affinity and tolerated taints', (t) => {
  const cache = createSchedulerCache();
  cache.setNode(makeNode('small', { allocatable: { cpu: '1', memory: '1Gi' } }));
  cache.setNode(makeNode('big'));
  const best = (spec: object) =>
    bestNode(
      makePod('p', { spec }),
      cache.nodes(),
      { nodes: cache.nodes(), namespaceOf: () => undefined, storage: NO_STORAGE },
      () => 0,
    );
  t.is(best({})?.node.metadata.name, 'big');
  const preferred = {
    affinity: {
      nodeAffinity: {
        preferredDuringSchedulingIgnoredDuringExecution: [
          {
            weight: 50,
            preference: { matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values: ['small'] }] },
          },
        ],
      },
    },
  };
  t.is(best(preferred)?.node.metadata.name, 'small');
  const soft = (rule: string, labelSelector: object) => ({
    affinity: {
      [rule]: {
        preferredDuringSchedulingIgnoredDuringExecution: [
          { weight: 100, podAffinityTerm: { topologyKey: 'kubernetes.io/hostname', labelSelector } },
        ],
      },
    },
  });
  cache.setPod(running('web', 'small'));
  t.is(best(soft('podAffinity', { matchLabels: { app: 'web' } }))?.node.metadata.name, 'small');
  t.is(best(soft('podAntiAffinity', { matchLabels: { app: 'web' } }))?.node.metadata.name, 'big');
  const spreadSoftly = spread('kubernetes.io/hostname', { whenUnsatisfiable: 'ScheduleAnyway' });
  t.is(best(spreadSoftly)?.node.metadata.name, 'big');
  cache.setNode(makeNode('big', { spec: { taints: [{ key: 'x', effect: 'PreferNoSchedule' }] } }));
  t.is(best({})?.node.metadata.name, 'small');
});

test('the cache counts pods once, whatever the order of news', (t) => {
  const cache = createSchedulerCache();
  const pod = running('a', 'n1', requests({ cpu: '1' }));
  cache.setPod(pod);
  cache.setNode(NODE);
  cache.assume(makePod('b', { spec: requests({ cpu: '1' }) }), 'n1');
  t.is(cache.node('n1')!.requested.get('cpu'), 2000);
  cache.setPod(running('b', 'n1', requests({ cpu: '1' })));
  cache.forget('uid-b');
  t.is(cache.node('n1')!.pods.size, 2, 'a confirmed pod is not forgotten');
  cache.removePod('uid-a');
  cache.removePod('uid-a');
  t.is(cache.node('n1')!.requested.get('cpu'), 1000);
  cache.removeNode('n1');
  cache.setNode(NODE);
  t.is(cache.node('n1')!.requested.get('cpu'), 1000, 'pods outlive their Node object');
});

test('refusals read as upstream writes them', (t) => {
  t.is(
    renderRefusal(
      3,
      new Map([
        ['node(s) were unschedulable', 2],
        ['Insufficient cpu', 1],
      ]),
    ),
    '0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.',
  );
  t.deepEqual([50, 100, 1000, 6000].map(sampleSize), [50, 100, 420, 300]);
});

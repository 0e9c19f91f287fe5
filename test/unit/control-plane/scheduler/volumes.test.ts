import test from 'ava';
import { reasonsAgainst, refusalEverywhere } from '../../../../control-plane/scheduler/filters.ts';
import { type ClusterView, createSchedulerCache } from '../../../../control-plane/scheduler/node-info.ts';
import { choosePlacement } from '../../../../control-plane/scheduler/placement.ts';
import { decideVolumes, sortClaims } from '../../../../control-plane/scheduler/pod-volumes.ts';
import type {
  CSINode,
  PersistentVolume,
  PersistentVolumeClaim,
  Pod,
  StorageClass,
} from '../../../../src/kube/types.ts';
import { makeNode, makePod } from '../controllers/scene.ts';
import { makeClaim, makeClass, makeVolume } from '../volumes/samples.ts';

const COMPLETED = { 'pv.kubernetes.io/bind-completed': 'yes' };
const onNode = (...values: string[]) => ({
  nodeAffinity: {
    required: {
      nodeSelectorTerms: [{ matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values }] }],
    },
  },
});
const late = makeClass('late', { volumeBindingMode: 'WaitForFirstConsumer' });
const made = makeClass('made', { volumeBindingMode: 'WaitForFirstConsumer', provisioner: 'x.example' });
const waiting = (name: string, size = '1Gi', storageClassName = 'late') =>
  makeClaim(name, { size, spec: { storageClassName } });
const bound = (name: string, volumeName: string, spec: object = {}) =>
  makeClaim(name, { phase: 'Bound', annotations: COMPLETED, spec: { volumeName, ...spec } });
const lateVolume = (name: string, size: string, ...nodes: string[]) =>
  makeVolume(name, { size, spec: { storageClassName: 'late', ...(nodes.length > 0 && onNode(...nodes)) } });

function viewOf(
  claims: PersistentVolumeClaim[],
  volumes: PersistentVolume[],
  classes: StorageClass[] = [late, made],
  running: Pod[] = [],
  csiNodes: CSINode[] = [],
): ClusterView {
  const cache = createSchedulerCache();
  for (const name of ['n1', 'n2']) cache.setNode(makeNode(name));
  for (const pod of running) cache.setPod(pod);
  const storage = {
    claim: (_: string, name: string) => claims.find(({ metadata }) => metadata.name === name),
    volume: (name: string) => volumes.find(({ metadata }) => metadata.name === name),
    volumes: () => volumes,
    storageClass: (name: string) => classes.find(({ metadata }) => metadata.name === name),
    csiNode: (name: string) => csiNodes.find(({ metadata }) => metadata.name === name),
  };
  return { nodes: cache.nodes(), namespaceOf: () => undefined, storage };
}

const using = (...names: string[]) =>
  makePod('p', {
    spec: { volumes: names.map((claimName) => ({ name: claimName, persistentVolumeClaim: { claimName } })) },
  });

const EVERYWHERE: [string, Pod, PersistentVolumeClaim[], string | undefined][] = [
  ['no such claim', using('x'), [], 'persistentvolumeclaim "x" not found'],
  [
    'one that is being deleted',
    using('x'),
    [makeClaim('x', { deleted: true })],
    'persistentvolumeclaim "x" is being deleted',
  ],
  [
    'one that has lost its volume',
    using('x'),
    [makeClaim('x', { phase: 'Lost', spec: { volumeName: 'v' } })],
    'persistentvolumeclaim "x" bound to non-existent persistentvolume "v"',
  ],
  ['one that is not bound yet', using('x'), [makeClaim('x')], 'pod has unbound immediate PersistentVolumeClaims'],
  [
    'one that names a volume and is not bound yet',
    using('x'),
    [makeClaim('x', { spec: { storageClassName: 'late', volumeName: 'v' } })],
    'pod has unbound immediate PersistentVolumeClaims',
  ],
  ['one that waits for a consumer', using('x'), [waiting('x')], undefined],
  ['a pod without claims', makePod('p'), [], undefined],
];
for (const [title, pod, claims, expected] of EVERYWHERE)
  test(`no node at all: ${title}`, (t) => {
    t.is(refusalEverywhere(pod, viewOf(claims, [])), expected);
  });

test('ephemeral volumes: the claim must be there, and the pod’s own', (t) => {
  const pod = makePod('p', {
    spec: { volumes: [{ name: 'scratch', ephemeral: { volumeClaimTemplate: { spec: {} } } }] },
  });
  t.is(
    refusalEverywhere(pod, viewOf([], [])),
    'waiting for ephemeral volume controller to create the persistentvolumeclaim "p-scratch"',
  );
  const foreign = makeClaim('p-scratch');
  t.is(
    refusalEverywhere(pod, viewOf([foreign], [])),
    'PVC default/p-scratch was not created for pod default/p (pod is not owner)',
  );
});

const NODES: [string, PersistentVolumeClaim[], PersistentVolume[], [string | undefined, string | undefined]][] = [
  [
    'a bound volume is where it is',
    [bound('x', 'v')],
    [lateVolume('v', '1Gi', 'n2')],
    ["node(s) didn't match PersistentVolume's node affinity", undefined],
  ],
  [
    'a bound volume that is gone',
    [bound('x', 'v')],
    [],
    [
      'node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)',
      'node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)',
    ],
  ],
  [
    'a waiting claim finds a volume on one node',
    [waiting('x')],
    [lateVolume('v', '1Gi', 'n2')],
    ["node(s) didn't find available persistent volumes to bind", undefined],
  ],
  ['a provisioner makes it anywhere', [waiting('x', '1Gi', 'made')], [], [undefined, undefined]],
];
for (const [title, claims, volumes, expected] of NODES)
  test(`nodes: ${title}`, (t) => {
    const view = viewOf(claims, volumes);
    t.deepEqual(
      view.nodes.map((info) => reasonsAgainst(using('x'), info, view)[0]),
      expected,
    );
  });

test('two claims of one pod never get the same volume; the smaller one leaves the larger volume', (t) => {
  const view = viewOf([waiting('big', '2Gi'), waiting('small')], [lateVolume('v2', '2Gi'), lateVolume('v1', '1Gi')]);
  const decision = decideVolumes(sortClaims(using('big', 'small'), view.storage), view.nodes[0]!.node, view.storage);
  t.true(typeof decision === 'object');
  const matches = typeof decision === 'object' ? decision.matches : [];
  t.deepEqual(Object.fromEntries(matches.map(({ claim, volume }) => [claim.metadata.name, volume.metadata.name])), {
    small: 'v1',
    big: 'v2',
  });
  const scarce = viewOf([waiting('a'), waiting('b')], [lateVolume('v', '1Gi')]);
  t.is(
    decideVolumes(sortClaims(using('a', 'b'), scarce.storage), scarce.nodes[0]!.node, scarce.storage),
    "node(s) didn't find available persistent volumes to bind",
  );
});

test('a class that provisions in some places only', (t) => {
  const zoned = makeClass('zoned', {
    volumeBindingMode: 'WaitForFirstConsumer',
    provisioner: 'x.example',
    allowedTopologies: [{ matchLabelExpressions: [{ key: 'kubernetes.io/hostname', values: ['n2'] }] }],
  });
  const view = viewOf([waiting('x', '1Gi', 'zoned')], [], [zoned]);
  t.deepEqual(
    view.nodes.map((info) => reasonsAgainst(using('x'), info, view).length),
    [1, 0],
  );
});

test('ReadWriteOncePod: one pod only', (t) => {
  const claims = [bound('x', 'v', { accessModes: ['ReadWriteOncePod'] })];
  const other = makePod('other', { spec: { ...using('x').spec, nodeName: 'n2' } });
  const view = viewOf(claims, [makeVolume('v')], [], [other]);
  t.deepEqual(reasonsAgainst(using('x'), view.nodes[0]!, view), [
    'node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode',
  ]);
  t.deepEqual(reasonsAgainst(using('x'), view.nodes[0]!, viewOf(claims, [makeVolume('v')])), []);
});

test('the whole message, as people search for it', (t) => {
  const random = () => 0;
  const place = (view: ClusterView) => choosePlacement(using('x'), view, { start: 0, random });
  t.like(place(viewOf([], [])), { refusal: '0/2 nodes are available: persistentvolumeclaim "x" not found.' });
  t.like(place(viewOf([waiting('x')], [])), {
    refusal: "0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind.",
  });
});

test('no more volumes than the driver can have on a node; a shared one counts once', (t) => {
  const csi = (name: string) =>
    makeVolume(name, { spec: { hostPath: undefined, csi: { driver: 'd.example', volumeHandle: name } } });
  const volumes = ['a', 'b', 'c'].map(csi);
  const claims = ['a', 'b', 'c'].map((name) => bound(name, name));
  const limited = {
    metadata: { ...makeClass('n1').metadata },
    spec: { drivers: [{ name: 'd.example', nodeID: 'n1', allocatable: { count: 2 } }] },
  };
  const running = ['a', 'b'].map((name) => makePod(`has-${name}`, { spec: { ...using(name).spec, nodeName: 'n1' } }));
  const view = viewOf(claims, volumes, [], running, [limited]);
  const reasons = (pod: Pod) => view.nodes.map((info) => reasonsAgainst(pod, info, view)[0]);
  t.deepEqual(reasons(using('c')), ['node(s) exceed max volume count', undefined]);
  t.deepEqual(reasons(using('a')), [undefined, undefined]);
});

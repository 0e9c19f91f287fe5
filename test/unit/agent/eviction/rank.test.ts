import test from 'ava';
import type { DiskLayout } from '../../../../agent/eviction/disk-layout.ts';
import { rankPods } from '../../../../agent/eviction/rank.ts';
import type { Signal } from '../../../../agent/eviction/signals.ts';
import type { Pod } from '../../../../src/kube/types.ts';
import { GI, MI, namedPod, statsOf, type Use } from './stats.ts';

/** request of the one container, for `memory` or `ephemeral-storage`. */
const asking = (name: string, resource: string, request: string, spec: object = {}) =>
  namedPod(name, { ...spec, containers: [{ name: 'app', resources: { requests: { [resource]: request } } }] });
const plain = (name: string, spec: object = {}) => namedPod(name, spec);

function ranked(signal: Signal, pods: [Pod, Use | undefined][], layout: DiskLayout = 'shared'): string[] {
  const stats = new Map(pods.flatMap(([pod, use]) => (use ? [[pod.metadata.uid, statsOf(pod, use)] as const] : [])));
  const inOrder = rankPods(
    pods.map(([pod]) => pod),
    (uid) => stats.get(uid),
    signal,
    layout,
  );
  return inOrder.map(({ metadata }) => metadata.name);
}

for (const signal of ['memory.available', 'allocatableMemory.available'] as const)
  test(`${signal}: beyond the request first, then importance, then excess`, (t) => {
    const order = ranked(signal, [
      [asking('within, idle', 'memory', '1Gi'), { memory: 100 * MI }],
      [asking('within, nearly all', 'memory', '1Gi'), { memory: GI - 1 }],
      [asking('exactly its request', 'memory', '1Gi'), { memory: GI }],
      [asking('important, far beyond', 'memory', '100Mi', { priority: 10 }), { memory: 3 * GI }],
      [asking('beyond by 50Mi', 'memory', '100Mi'), { memory: 150 * MI }],
      [plain('asked for nothing, 60Mi'), { memory: 60 * MI }],
      [plain('less than unimportant', { priority: -1 }), { memory: 1 }],
      [plain('not measured', { priority: 1000 }), undefined],
    ]);
    t.deepEqual(order, [
      'not measured',
      'less than unimportant',
      'asked for nothing, 60Mi',
      'beyond by 50Mi',
      'important, far beyond',
      'exactly its request',
      'within, nearly all',
      'within, idle',
    ]);
  });

test("overhead, sidecars and the pod's own requests count as requested", (t) => {
  const overhead = asking('overhead', 'memory', '100Mi', { overhead: { memory: '200Mi' } });
  const ofPod = namedPod('of the pod', { resources: { requests: { memory: '500Mi' } } });
  const sidecar = namedPod('sidecar', {
    initContainers: [
      { name: 's', image: 'x', restartPolicy: 'Always', resources: { requests: { memory: '150Mi' } } },
      { name: 'i', image: 'x', resources: { requests: { memory: '40Mi' } } },
    ],
    containers: [{ name: 'app', resources: { requests: { memory: '100Mi' } } }],
  });
  const order = ranked('memory.available', [
    [overhead, { memory: 250 * MI }],
    [ofPod, { memory: 251 * MI }],
    [sidecar, { memory: 251 * MI }],
  ]);
  t.deepEqual(order, ['sidecar', 'overhead', 'of the pod']);
});

const volumes = [
  { name: 'scratch', emptyDir: {} },
  { name: 'ram', emptyDir: { medium: 'Memory' } },
  { name: 'claim', persistentVolumeClaim: { claimName: 'c' } },
  { name: 'host', hostPath: { path: '/x' } },
];
const DISK: [Pod, Use][] = [
  [plain('layers'), { disk: { app: [900 * MI, 0] } }],
  [plain('logs'), { disk: { app: [0, 800 * MI] } }],
  [plain('scratch', { volumes }), { volumes: { scratch: 700 * MI } }],
  [plain('elsewhere', { volumes }), { volumes: { ram: 5 * GI, claim: 5 * GI } }],
  [plain('host path', { volumes }), { volumes: { host: 600 * MI } }],
  [asking('asked', 'ephemeral-storage', '10Gi'), { disk: { app: [9 * GI, 0] } }],
  [plain('important', { priority: 1 }), { disk: { app: [5 * GI, 5 * GI] } }],
];
for (const [signal, layout, expected] of [
  ['nodefs.available', 'shared', ['layers', 'logs', 'scratch', 'host path', 'important', 'elsewhere', 'asked']],
  ['imagefs.available', 'shared', ['layers', 'logs', 'scratch', 'host path', 'important', 'elsewhere', 'asked']],
  // With a file system of the Engine's own, only volumes take room on the agent's.
  ['nodefs.available', 'imagefs', ['scratch', 'host path', 'layers', 'logs', 'elsewhere', 'asked', 'important']],
  ['imagefs.available', 'imagefs', ['layers', 'logs', 'important', 'scratch', 'elsewhere', 'host path', 'asked']],
  ['containerfs.available', 'imagefs', ['layers', 'logs', 'important', 'scratch', 'elsewhere', 'host path', 'asked']],
  // Inodes cannot be requested: who has any uses too many.
  ['nodefs.inodesFree', 'shared', ['layers', 'logs', 'scratch', 'host path', 'asked', 'important', 'elsewhere']],
] as const)
  test(`${signal}, ${layout}`, (t) => {
    t.deepEqual(ranked(signal, DISK, layout), [...expected]);
  });

test('pid.available: importance, then the number of processes; requests do not matter', (t) => {
  const order = ranked('pid.available', [
    [plain('few'), { processes: 3 }],
    [plain('many'), { processes: 300 }],
    [plain('important', { priority: 7 }), { processes: 3000 }],
    [plain('not measured'), undefined],
  ]);
  t.deepEqual(order, ['not measured', 'many', 'few', 'important']);
});

test('equals stay in the order they came in', (t) => {
  const names = ['c', 'a', 'b'];
  const order = ranked(
    'memory.available',
    names.map((name) => [plain(name), { memory: MI }]),
  );
  t.deepEqual(order, names);
});

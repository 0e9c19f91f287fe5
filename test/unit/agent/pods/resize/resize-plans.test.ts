import test from 'ava';
import { computeContainerResize } from '../../../../../agent/pods/resize/container-resize.ts';
import { decideResize, type ResizingNode } from '../../../../../agent/pods/resize/decision.ts';
import { sortPendingResizes } from '../../../../../agent/pods/resize/order.ts';
import { computeStepPod } from '../../../../../agent/pods/resize/step-pod.ts';
import { podLimits, podRequests } from '../../../../../agent/resources/requests.ts';
import type { Container, Pod } from '../../../../../src/kube/types.ts';
import { podOf, resources } from '../../pod.ts';

const container = (cpu: string, memory: string, more: Partial<Container> = {}): Container => ({
  name: 'app',
  image: 'i',
  resources: resources(cpu, memory),
  ...more,
});
const pod = (cpu: string, memory: string, metadata: Partial<Pod['metadata']> = {}, spec: Partial<Pod['spec']> = {}) =>
  podOf({ containers: [container(cpu, memory)], ...spec }, metadata);

const restarts = (...names: string[]) => ({
  resizePolicy: ['cpu', 'memory'].map((resourceName) => ({
    resourceName,
    restartPolicy: names.includes(resourceName) ? 'RestartContainer' : 'NotRequired',
  })),
});
const containerCases: [
  string,
  Container,
  ReturnType<typeof resources> | undefined,
  'update' | 'restart' | undefined,
][] = [
  ['nothing known of it: it runs as allocated', container('1/2', '1Gi/2Gi'), undefined, undefined],
  ['the same, written otherwise', container('1/2', '1Gi/2Gi'), resources('1000m/2', '1024Mi/2Gi'), undefined],
  ['cpu', container('1/2', '1Gi/2Gi'), resources('1/1', '1Gi/2Gi'), 'update'],
  ['a limit where none was', container('1/2', '1Gi/2Gi'), resources('1/2', '1Gi'), 'update'],
  ['cpu restarts', container('1/2', '1Gi/2Gi', restarts('cpu')), resources('2/2', '1Gi/2Gi'), 'restart'],
  ['cpu restarts, memory changes', container('1/2', '1Gi/2Gi', restarts('cpu')), resources('1/2', '1Gi/1Gi'), 'update'],
  ['memory restarts', container('1/2', '1Gi/2Gi', restarts('memory')), resources('1/2', '1Gi/1Gi'), 'restart'],
  [
    'a memory request restarts nobody',
    container('1/2', '1Gi/2Gi', restarts('memory')),
    resources('1/2', '2Gi/2Gi'),
    'update',
  ],
];
for (const [title, allocated, actuated, expected] of containerCases)
  test(`resize of a container: ${title}`, (t) => {
    t.is(computeContainerResize(allocated, actuated), expected);
  });

test('a growing pod comes before its containers, a shrinking one after them, each resource by itself', (t) => {
  const [small, large] = [pod('1/1', '1Gi/1Gi'), pod('2/2', '2Gi/2Gi')];
  t.is(computeStepPod(small, large), large);
  t.deepEqual(podLimits(computeStepPod(large, small)), podLimits(large));
  const crossed = computeStepPod(pod('1/1', '2Gi/2Gi'), pod('2/2', '1Gi/1Gi'));
  t.deepEqual(podLimits(crossed), podLimits(large));
  t.deepEqual(podRequests(crossed), podRequests(large));
  // What gets a limit that it had not shrinks.
  t.deepEqual(podLimits(computeStepPod(pod('1', '1Gi/1Gi'), pod('1/4', '2Gi/2Gi'))), { memory: 2 * 2 ** 30 });
  const level = (cpu: string) => pod('', '', {}, { resources: { limits: { cpu }, requests: { cpu: '1' } } });
  t.is(podLimits(computeStepPod(level('4'), level('2')))['cpu'], 4000);
});

const node: ResizingNode = {
  cpuMillis: 4000,
  memoryBytes: 4 * 2 ** 30,
  cpuManagerIsStatic: false,
  memoryManagerIsStatic: false,
  maySwap: () => false,
};
const decisions: [string, Pod, Pod, Pod[], Partial<ResizingNode>, string | undefined][] = [
  ['fits', pod('2', '1Gi'), pod('1', '1Gi'), [pod('2', '1Gi')], {}, undefined],
  [
    'not now',
    pod('3', '1Gi'),
    pod('1', '1Gi'),
    [pod('2', '1Gi')],
    {},
    "Deferred: Node didn't have enough resource: cpu, requested: 3000, used: 2000, capacity: 4000",
  ],
  [
    'never',
    pod('5', '1Gi'),
    pod('1', '1Gi'),
    [],
    {},
    "Infeasible: Node didn't have enough capacity: cpu, requested: 5000, capacity: 4000",
  ],
  [
    'memory is told first',
    pod('5', '5Gi'),
    pod('1', '1Gi'),
    [],
    {},
    "Infeasible: Node didn't have enough capacity: memory, requested: 5368709120, capacity: 4294967296",
  ],
  [
    'a static pod',
    pod('2', '1Gi', { annotations: { 'kubernetes.io/config.source': 'file' } }),
    pod('1', '1Gi'),
    [],
    {},
    'Infeasible: In-place resize of static-pods is not supported',
  ],
  [
    'CPUs of its own',
    pod('2/2', '1Gi/1Gi'),
    pod('1/1', '1Gi/1Gi'),
    [],
    { cpuManagerIsStatic: true },
    'Infeasible: Resize is infeasible for Guaranteed Pods alongside CPU Manager policy "static"',
  ],
  ['only its memory', pod('1/1', '2Gi/2Gi'), pod('1/1', '1Gi/1Gi'), [], { cpuManagerIsStatic: true }, undefined],
  ['Burstable beside static CPUs', pod('2', '1Gi'), pod('1', '1Gi'), [], { cpuManagerIsStatic: true }, undefined],
  [
    'memory of its own',
    pod('1/1', '2Gi/2Gi'),
    pod('1/1', '1Gi/1Gi'),
    [],
    { memoryManagerIsStatic: true },
    'Infeasible: Resize is infeasible for Guaranteed Pods alongside Memory Manager policy "Static"',
  ],
  [
    'swap',
    pod('1', '2Gi'),
    pod('1', '1Gi'),
    [],
    { maySwap: () => true },
    'Infeasible: In-place resize of containers with swap is not supported.',
  ],
  ['cpu of one that swaps', pod('2', '1Gi'), pod('1', '1Gi'), [], { maySwap: () => true }, undefined],
];
for (const [title, asked, allocated, others, change, expected] of decisions)
  test(`resize decision: ${title}`, (t) => {
    const refusal = decideResize(asked, allocated, others, { ...node, ...change });
    t.is(refusal && `${refusal.reason}: ${refusal.message}`, expected);
  });

test('what is free goes to those that ask for nothing more, by priority, Guaranteed first, then who waits longest', (t) => {
  const entry = (name: string, asked: Pod, pendingSinceMs?: number) => ({
    name,
    asked,
    allocated: pod('1/1', '1Gi/1Gi'),
    pendingSinceMs,
  });
  const sorted = sortPendingResizes([
    entry('new', pod('2', '1Gi')),
    entry('late', pod('2', '1Gi'), 20),
    entry('early', pod('2', '1Gi'), 10),
    entry('guaranteed', pod('2/2', '1Gi/1Gi'), 30),
    entry('important', pod('2', '1Gi', {}, { priority: 7 }), 40),
    entry('less', pod('500m', '1Gi'), 50),
  ]);
  t.deepEqual(
    sorted.map(({ name }) => name),
    ['less', 'important', 'guaranteed', 'early', 'late', 'new'],
  );
});

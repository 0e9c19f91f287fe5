import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { createAllocations, loadAllocations } from '../../../../../agent/resources/allocation/allocations.ts';
import { parseCheckpoint, renderCheckpoint } from '../../../../../agent/resources/allocation/checkpoint.ts';
import { allocationOf, withAllocation } from '../../../../../agent/resources/allocation/pod-allocation.ts';
import { CheckpointError } from '../../../../../agent/resources/checkpoints/checkpoint-file.ts';
import type { Pod } from '../../../../../src/kube/types.ts';
import { eventually } from '../../../../support/eventually.ts';
import { podOf } from '../../pod.ts';

const asks = (cpu: string, memory = '64Mi') => ({ requests: { cpu, memory } });
const pod = (cpu: string, more: Partial<Pod['spec']> = {}): Pod => {
  const made = podOf({ containers: [{ name: 'c', image: 'i', resources: asks(cpu) }], ...more });
  return { ...made, metadata: { ...made.metadata, uid: 'u1' } };
};

// The file that upstream's own test reads.
const UPSTREAM =
  '{"data":"{\\"entries\\":{\\"pod1\\":{\\"ContainerResources\\":{\\"container1\\":{\\"requests\\":{\\"cpu\\":\\"1Ki\\",\\"memory\\":\\"1Ki\\"}}}}}}","checksum":1178570812}';

test('a checkpoint of upstream is read, and ours is the same to the byte', (t) => {
  const read = parseCheckpoint(UPSTREAM);
  t.deepEqual(read.get('pod1'), {
    ContainerResources: { container1: { requests: { cpu: '1Ki', memory: '1Ki' } } },
  });
  t.is(renderCheckpoint(read), UPSTREAM);
  t.is(parseCheckpoint(renderCheckpoint(new Map())).size, 0);
});

for (const [title, text, why] of [
  ['cut short', UPSTREAM.slice(0, 50), /not JSON/],
  ['changed by hand', UPSTREAM.replace('1Ki', '2Ki'), /checksum is 1178570812/],
  ['of another shape', '{"policyName":"none","defaultCpuSet":"","checksum":1353318690}', /no data with a checksum/],
] as const)
  test(`a checkpoint that is ${title} is refused`, (t) => {
    t.throws(() => parseCheckpoint(text), { name: 'CorruptCheckpointError', message: why });
  });

test('a corrupt checkpoint is kept aside and said; the next start does without it', async (t) => {
  const directory = await mkdtemp('/tmp/berth-unit-checkpoint-');
  t.teardown(() => rm(directory, { recursive: true }));
  const path = join(directory, 'allocated_pods_state');
  await writeFile(path, UPSTREAM.replace('1Ki', '2Ki'));
  const load = () =>
    loadAllocations(
      { allocated: path, actuated: join(directory, 'actuated_pods_state') },
      { nowMs: () => 0, onError: (error) => t.fail(String(error)) },
    );
  const error = await t.throwsAsync(load(), { instanceOf: CheckpointError });
  const [aside] = await readdir(directory);
  t.regex(aside!, /^allocated_pods_state\.corrupt-/);
  t.true(error!.message.includes(path) && error!.message.includes(aside!));
  t.false((await load()).isAllocated('pod1'));
});

test('the allocated pod is the very same one until its spec asks for something else', (t) => {
  const allocations = createAllocations();
  const asked = pod('1');
  t.is(allocations.allocatedPod(asked), asked);
  allocations.allocate(asked);
  t.is(allocations.allocatedPod(asked), asked);
  const same = pod('1000m');
  t.is(allocations.allocatedPod(same), same);
  const more = pod('2');
  const shown = allocations.allocatedPod(more);
  t.deepEqual(shown.spec.containers[0]!.resources, asks('1'));
  t.is(allocations.allocatedPod(more), shown);
  allocations.release('u1');
  t.is(allocations.allocatedPod(more), more);
});

test('sidecars and pod-level resources are allocated, plain init containers are as their spec says', (t) => {
  const initContainers = [
    { name: 'plain', image: 'i', resources: asks('1') },
    { name: 'side', image: 'i', restartPolicy: 'Always', resources: asks('1') },
  ];
  const first = pod('1', { initContainers, resources: { limits: { cpu: '4' } } });
  const allocation = allocationOf(first);
  t.deepEqual(Object.keys(allocation.ContainerResources).sort(), ['c', 'side']);
  const more = initContainers.map((one) => ({ ...one, resources: asks('3') }));
  const given = withAllocation(pod('3', { initContainers: more, resources: { limits: { cpu: '8' } } }), allocation);
  t.deepEqual(
    given.spec.initContainers!.map(({ resources }) => resources!.requests!['cpu']),
    ['3', '1'],
  );
  t.deepEqual(given.spec.resources, { limits: { cpu: '4' } });
  t.is(withAllocation(pod('3'), allocation).spec.containers[0]!.resources!.requests!['cpu'], '1');
});

test('a restart of the agent knows what was allocated and actuated; what could not be written is not promised', async (t) => {
  const directory = await mkdtemp('/tmp/berth-unit-checkpoint-');
  t.teardown(() => rm(directory, { recursive: true }));
  const path = (name: string) => join(directory, name);
  const open = () =>
    loadAllocations(
      { allocated: path('allocated_pods_state'), actuated: path('actuated_pods_state') },
      { nowMs: () => 0, onError: (error) => t.fail(String(error)) },
    );
  const first = await open();
  first.allocate(pod('1'));
  first.recordActuated('u1', 'c', asks('500m'));
  await first.reallocate(pod('2'));
  await eventually('it is written', () =>
    readFile(path('actuated_pods_state'), 'utf8').then(
      (text) => text.includes('500m'),
      () => false,
    ),
  );
  const second = await open();
  t.true(second.isAllocated('u1'));
  t.is(second.allocatedPod(pod('9')).spec.containers[0]!.resources!.requests!['cpu'], '2');
  t.deepEqual(second.actuated('u1', 'c'), asks('500m'));
  t.is(second.actuatedPod(pod('2'), new Set(['c'])).spec.containers[0]!.resources!.requests!['cpu'], '500m');
  t.is(second.actuatedPod(pod('2'), new Set()).spec.containers[0]!.resources!.requests!['cpu'], '2');

  const full = createAllocations({ saveAllocated: () => Promise.reject(new Error('ENOSPC')), onError: () => {} });
  full.allocate(pod('1'));
  await t.throwsAsync(full.reallocate(pod('2')), { message: 'ENOSPC' });
  t.is(full.allocatedPod(pod('2')).spec.containers[0]!.resources!.requests!['cpu'], '1');
});

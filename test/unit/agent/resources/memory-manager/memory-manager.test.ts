import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { CheckpointError, CorruptCheckpointError } from '../../../../../agent/resources/checkpoints/checkpoint-file.ts';
import {
  createMemoryManager,
  type MemoryManager,
  memoryRequest,
  podMemoryRequest,
} from '../../../../../agent/resources/memory-manager/memory-manager.ts';
import { parseMemoryState, renderMemoryState } from '../../../../../agent/resources/memory-manager/memory-state.ts';
import { computeReservedMemory } from '../../../../../agent/resources/memory-manager/reserved-memory.ts';
import type { TopologyHint } from '../../../../../agent/resources/topology/hint-provider.ts';
import { createManagerMetrics } from '../../../../../agent/resources/topology/manager-metrics.ts';
import { numaMask, numaNodesOf } from '../../../../../agent/resources/topology/numa-mask.ts';
import type { Container, Pod } from '../../../../../src/kube/types.ts';
import { Registry } from '../../../../../src/runtime/metrics.ts';
import { machineOf } from '../../../../support/fake-machine.ts';
import { podOf, resources } from '../../pod.ts';

const GiB = 2 ** 30;
const ANYWHERE: TopologyHint = { preferred: false };
const container = (name: string, memory: string, extra: Partial<Container> = {}) =>
  ({ name, image: 'i', resources: resources('1/1', `${memory}/${memory}`), ...extra }) as Container;
const guaranteed = (uid: string, memory: string[], init: Container[] = []): Pod =>
  podOf(
    {
      containers: memory.map((one, index) => container(`c${index}`, one)),
      ...(init.length > 0 && { initContainers: init }),
    },
    { uid, name: uid },
  );

/** Nodes of 8 GiB, of which node 0 keeps 1 GiB for the system. */
async function managerOf(t: ExecutionContext, { nodes = 2, root = '', hugepages = new Map<number, number>() } = {}) {
  const directory = root || (await mkdtemp(join(tmpdir(), 'berth-memory-')));
  if (!root) t.teardown(() => rm(directory, { recursive: true, maxRetries: 5 }));
  const { numaNodes } = machineOf({ sockets: nodes, memoryBytes: 8 * GiB, hugepages });
  const reserved = computeReservedMemory(numaNodes, [{ numaNode: 0, limits: { memory: '1Gi' } }], GiB);
  const manager = await createMemoryManager(
    { nodes: numaNodes, reserved, statePath: join(directory, 'memory_manager_state') },
    { metrics: createManagerMetrics(new Registry()), nowMs: Date.now, onUnsaved: () => {} },
  );
  return { manager, root: directory, file: join(directory, 'memory_manager_state') };
}

async function take(manager: MemoryManager, pod: Pod, affinity = ANYWHERE) {
  for (const one of [...(pod.spec.initContainers ?? []), ...pod.spec.containers])
    await manager.allocate(pod, one, affinity);
}
const shown = (hints: ReturnType<MemoryManager['hints']>, type = 'memory') =>
  hints.get(type)?.map(({ numaNodes, preferred }) => `${numaNodesOf(numaNodes!).join('+')}${preferred ? '!' : ''}`);
const hintsFor = (manager: MemoryManager, pod: Pod) => shown(manager.hints(pod, pod.spec.containers[0]!));

test('whose memory is set aside', (t) => {
  const pod = guaranteed('a', ['1Gi']);
  t.deepEqual([...memoryRequest(pod, pod.spec.containers[0]!)], [['memory', GiB]]);
  const burstable = podOf({ containers: [{ name: 'c', resources: resources('1/2', '1Gi/1Gi') }] });
  t.is(memoryRequest(burstable, burstable.spec.containers[0]!).size, 0);
  const sidecar = { restartPolicy: 'Always' as const };
  const init = [container('i', '1Gi'), container('s', '2Gi', sidecar), container('j', '4Gi')];
  t.is(podMemoryRequest(guaranteed('a', ['1Gi', '1Gi'], init)).get('memory'), 6 * GiB);
  t.is(podMemoryRequest(guaranteed('a', ['3Gi', '3Gi'], init)).get('memory'), 8 * GiB);
});

test('hints: one node where one has it, groups that nobody breaks', async (t) => {
  const { manager } = await managerOf(t, { nodes: 3 });
  t.deepEqual(hintsFor(manager, guaranteed('a', ['4Gi'])), ['0!', '1!', '2!', '0+1', '0+2', '1+2', '0+1+2']);
  t.deepEqual(hintsFor(manager, guaranteed('a', ['8Gi'])), ['1!', '2!', '0+1', '0+2', '1+2', '0+1+2']);
  t.deepEqual(hintsFor(manager, guaranteed('a', ['10Gi'])), ['0+1!', '0+2!', '1+2!', '0+1+2']);
  await take(manager, guaranteed('big', ['10Gi']), { numaNodes: numaMask([0, 1]), preferred: true });
  t.deepEqual(manager.nodes('big', 'c0'), [0, 1]);
  t.deepEqual(hintsFor(manager, guaranteed('a', ['4Gi'])), ['2!', '0+1'], 'nodes of a group are not used alone');
  await take(manager, guaranteed('one', ['1Gi']), { numaNodes: numaMask([2]), preferred: true });
  t.deepEqual(hintsFor(manager, guaranteed('a', ['4Gi'])), ['2!', '0+1'], 'a node used alone is in no group');
  t.deepEqual(hintsFor(manager, guaranteed('big', ['10Gi'])), ['0+1!'], 'made again of what it holds');
  t.is(hintsFor(manager, guaranteed('big', ['9Gi'])), undefined, 'it holds another amount');
  manager.remove('big');
  manager.remove('one');
  t.deepEqual(hintsFor(manager, guaranteed('a', ['10Gi'])), ['0+1!', '0+2!', '1+2!', '0+1+2']);
});

test('without an affinity the narrowest nodes are taken; one too narrow is widened', async (t) => {
  const { manager } = await managerOf(t);
  await take(manager, guaranteed('a', ['7Gi']));
  t.deepEqual(manager.nodes('a', 'c0'), [0]);
  await take(manager, guaranteed('b', ['8Gi']));
  t.deepEqual(manager.nodes('b', 'c0'), [1]);
  const error = await t.throwsAsync(take(manager, guaranteed('c', ['1Gi'])), { name: 'AllocationError' });
  t.regex(error!.message, /failed to get the default NUMA affinity, no NUMA nodes with enough memory is available/);
  manager.remove('a');
  manager.remove('b');
  await take(manager, guaranteed('d', ['10Gi']), { numaNodes: numaMask([1]), preferred: false });
  t.deepEqual(manager.nodes('d', 'c0'), [0, 1]);
});

test('an affinity that would break into a group is refused', async (t) => {
  const { manager } = await managerOf(t, { nodes: 3 });
  await take(manager, guaranteed('one', ['1Gi']), { numaNodes: numaMask([1]), preferred: true });
  const error = await t.throwsAsync(
    take(manager, guaranteed('b', ['2Gi']), { numaNodes: numaMask([1, 2]), preferred: false }),
  );
  t.is(error?.message, '[memorymanager] preferred hint violates NUMA node allocation');
  t.deepEqual([...manager.holders!()], ['one']);
});

test('init containers leave their memory to the same pod', async (t) => {
  const { manager, root } = await managerOf(t);
  const pod = guaranteed('a', ['2Gi', '3Gi'], [container('i', '4Gi')]);
  await take(manager, pod, { numaNodes: numaMask([1]), preferred: true });
  const sizes = (name: string) => manager.blocks('a', name).map(({ size }) => size / GiB);
  t.deepEqual([sizes('i'), sizes('c0'), sizes('c1')], [[0], [2], [3]]);
  // 5 GiB of 8 are taken: what a restart finds must say the same.
  const { manager: again } = await managerOf(t, { root });
  t.deepEqual(hintsFor(again, guaranteed('b', ['3Gi'])), ['0!', '1!']);
  t.deepEqual(hintsFor(again, guaranteed('b', ['4Gi'])), ['0!']);
  again.remove('a');
  t.deepEqual(hintsFor(again, guaranteed('b', ['8Gi'])), ['1!', '0+1']);
});

test('huge pages are set aside on the same nodes', async (t) => {
  const { manager } = await managerOf(t, { hugepages: new Map([[2 * 2 ** 20, 2 * GiB]]) });
  const pod = guaranteed('a', ['1Gi']);
  Object.assign(pod.spec.containers[0]!.resources!.limits!, { 'hugepages-2Mi': '2Gi' });
  t.deepEqual(shown(manager.hints(pod, pod.spec.containers[0]!), 'hugepages-2Mi'), ['0!', '1!', '0+1']);
  await take(manager, pod, { numaNodes: numaMask([1]), preferred: true });
  const other = guaranteed('b', ['1Gi']);
  Object.assign(other.spec.containers[0]!.resources!.limits!, { 'hugepages-2Mi': '1Gi' });
  t.deepEqual(hintsFor(manager, other), ['0!']);
  const free = manager.allocatable().filter(({ type }) => type === 'memory');
  t.deepEqual(
    free.map(({ size }) => size / GiB),
    [5, 6],
  );
});

test('the state goes to the file and back', async (t) => {
  const { manager, file } = await managerOf(t);
  await take(manager, guaranteed('a', ['2Gi']), { numaNodes: numaMask([1]), preferred: true });
  const text = await readFile(file, 'utf8');
  const { policyName, machineState, entries } = JSON.parse(text);
  t.is(policyName, 'Static');
  t.deepEqual(entries, { a: { c0: [{ numaAffinity: [1], type: 'memory', size: 2 * GiB }] } });
  t.deepEqual(machineState['1'], {
    numberOfAssignments: 1,
    memoryMap: {
      memory: { total: 8 * GiB, systemReserved: 0, allocatable: 8 * GiB, reserved: 2 * GiB, free: 6 * GiB },
    },
    cells: [1],
  });
  t.is(renderMemoryState(parseMemoryState(text, '/x')), text);
});

test("a checksum of the kubelet's own", (t) => {
  const state = {
    policyName: 'static',
    machineState: {
      0: {
        numberOfAssignments: 0,
        memoryMap: { memory: { total: 2048, systemReserved: 512, allocatable: 1536, reserved: 512, free: 1024 } },
        cells: [],
      },
    },
    entries: { pod: { container1: [{ numaAffinity: [0], type: 'memory', size: 512 }] } },
    checksum: 4215593881,
  };
  // Its policy's name is looked at only when the checksum is right.
  t.throws(() => parseMemoryState(JSON.stringify(state), '/x/memory_manager_state'), {
    instanceOf: CheckpointError,
    message: /configured policy "Static" differs from state checkpoint policy "static"/,
  });
  t.throws(() => parseMemoryState(JSON.stringify({ ...state, checksum: 1 }), '/x'), {
    instanceOf: CorruptCheckpointError,
  });
  t.throws(() => parseMemoryState(JSON.stringify({ ...state, machineState: { 0: {} } }), '/x'), {
    instanceOf: CorruptCheckpointError,
  });
});

for (const [title, change, says] of [
  ['more is reserved', (text: string) => text, /systemReserved of memory on NUMA node 0 is 2147483648 bytes now/],
  [
    'a node is gone',
    (text: string) => text.replace('"numaAffinity":[1]', '"numaAffinity":[5]'),
    /container c0 of pod a has memory of NUMA node 5, which this machine does not have/,
  ],
  [
    'counts do not add up',
    (text: string) => text.replace('"numberOfAssignments":1', '"numberOfAssignments":2'),
    /use of NUMA node/,
  ],
] as const)
  test(`a state that does not fit the node: ${title}`, async (t) => {
    const { manager, file, root } = await managerOf(t);
    await take(manager, guaranteed('a', ['2Gi']), { numaNodes: numaMask([1]), preferred: true });
    const text = await readFile(file, 'utf8');
    await writeFile(file, change(text).replace(/"checksum":\d+/, '"checksum":0'));
    const { numaNodes } = machineOf({ sockets: 2, memoryBytes: 8 * GiB });
    const reservedGi = title === 'more is reserved' ? 2 : 1;
    const reserved = computeReservedMemory(
      numaNodes,
      [{ numaNode: 0, limits: { memory: `${reservedGi}Gi` } }],
      reservedGi * GiB,
    );
    const error = await t.throwsAsync(
      createMemoryManager(
        { nodes: numaNodes, reserved, statePath: join(root, 'memory_manager_state') },
        { metrics: createManagerMetrics(new Registry()), nowMs: Date.now, onUnsaved: () => {} },
      ),
      { instanceOf: CheckpointError },
    );
    t.regex(error!.message, says);
    t.regex(error!.message, /drain the node and delete that file/);
  });

test('reserved memory adds up to what the node holds back', (t) => {
  const { numaNodes } = machineOf({ sockets: 2 });
  const reserved = computeReservedMemory(
    numaNodes,
    [
      { numaNode: 0, limits: { memory: '1Gi' } },
      { numaNode: 1, limits: { memory: '512Mi' } },
    ],
    1.5 * GiB,
  );
  t.is(reserved.get(1)?.get('memory'), 512 * 2 ** 20);
  const refuse = (limits: Record<string, string>, numaNode: number, held: number) =>
    t.throws(() => computeReservedMemory(numaNodes, [{ numaNode, limits }], held))?.message ?? '';
  t.regex(
    refuse({ memory: '1Gi' }, 0, GiB + 1),
    /total of reservedMemory for memory is 1073741824 bytes; accepted: 1073741825/,
  );
  t.regex(refuse({ memory: '1Gi' }, 7, GiB), /NUMA node 7, which does not exist on this machine \(it has 0, 1\)/);
  t.regex(
    refuse({ memory: '1Gi', 'hugepages-2Mi': '2Mi' }, 0, GiB),
    /for hugepages-2Mi is 2097152 bytes; accepted: 0 bytes/,
  );
  t.regex(refuse({}, 0, 0), /needs memory that stays with the system/);
});

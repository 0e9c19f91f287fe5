import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { type CpuManager, createCpuManager } from '../../../../../agent/resources/cpu-manager/cpu-manager.ts';
import { buildCpuTopology } from '../../../../../agent/resources/cpu-manager/cpu-topology.ts';
import { exclusiveCpuCount, podExclusiveCpuCount } from '../../../../../agent/resources/cpu-manager/exclusive.ts';
import { parseCpuPolicyOptions } from '../../../../../agent/resources/cpu-manager/policy-options.ts';
import { computeReservedCpus } from '../../../../../agent/resources/cpu-manager/reserved-cpus.ts';
import type { TopologyHint } from '../../../../../agent/resources/topology/hint-provider.ts';
import { createManagerMetrics } from '../../../../../agent/resources/topology/manager-metrics.ts';
import { numaMask, numaNodesOf } from '../../../../../agent/resources/topology/numa-mask.ts';
import type { Container, Pod } from '../../../../../src/kube/types.ts';
import { formatCpuList, parseCpuList } from '../../../../../src/linux/cpu-list.ts';
import { Registry } from '../../../../../src/runtime/metrics.ts';
import { type MachineShape, machineOf } from '../../../../support/fake-machine.ts';
import { podOf, resources } from '../../pod.ts';

const container = (name: string, cpu: string, extra: Partial<Container> = {}) =>
  ({ name, image: 'i', resources: resources(`${cpu}/${cpu}`, '64Mi/64Mi'), ...extra }) as Container;
const guaranteed = (uid: string, cpus: string[], init: Container[] = []): Pod =>
  podOf(
    {
      containers: cpus.map((cpu, index) => container(`c${index}`, cpu)),
      ...(init.length > 0 && { initContainers: init }),
    },
    { uid, name: uid },
  );
const ANYWHERE: TopologyHint = { preferred: false };

interface Given {
  shape?: MachineShape;
  reserved?: string;
  options?: Record<string, string>;
  root?: string;
  onChange?: () => Promise<void>;
}

async function managerOf(t: ExecutionContext, given: Given = {}) {
  const root = given.root ?? (await mkdtemp(join(tmpdir(), 'berth-cpu-')));
  if (!given.root) t.teardown(() => rm(root, { recursive: true, maxRetries: 5 }));
  const registry = new Registry();
  const manager = await createCpuManager(
    {
      topology: buildCpuTopology(machineOf(given.shape ?? { coresPerNuma: 4, threads: 2 })),
      reserved: parseCpuList(given.reserved ?? '0'),
      policy: parseCpuPolicyOptions(given.options ?? {}),
      statePath: join(root, 'cpu_manager_state'),
    },
    {
      metrics: createManagerMetrics(registry),
      nowMs: Date.now,
      onChange: given.onChange ?? (async () => {}),
      // What is given back last is written while the directory goes.
      onUnsaved: () => {},
    },
  );
  const value = async (name: string, labels: Record<string, string> = {}) => {
    const metric = await registry.getSingleMetric(name)!.get();
    return metric.values.find(({ labels: own }) => Object.entries(labels).every(([key, one]) => own[key] === one))
      ?.value;
  };
  return { manager, root, value };
}

async function take(manager: CpuManager, pod: Pod, affinity = ANYWHERE) {
  for (const one of [...(pod.spec.initContainers ?? []), ...pod.spec.containers])
    await manager.allocate(pod, one, affinity);
}
const cpus = (manager: CpuManager, uid: string, name = 'c0') => formatCpuList(manager.cpus(uid, name));
const shared = (manager: CpuManager) => cpus(manager, 'nobody');

test('who gets CPUs of its own', (t) => {
  const count = (pod: Pod) => exclusiveCpuCount(pod, pod.spec.containers[0]!);
  t.is(count(guaranteed('a', ['2'])), 2);
  t.is(count(guaranteed('a', ['2000m'])), 2);
  t.is(count(guaranteed('a', ['1500m'])), 0);
  t.is(count(podOf({ containers: [{ name: 'c', resources: resources('2/3', '64Mi/64Mi') }] })), 0);
  t.is(count(podOf({ containers: [{ name: 'c', resources: resources('2/2') }] })), 0);
  t.is(count(podOf({})), 0);
  const asWhole = guaranteed('a', ['2']);
  asWhole.spec.resources = resources('2/2', '64Mi/64Mi');
  t.is(count(asWhole), 0);
  // A limit alone is a request too: static pods have no API server that says so.
  t.is(count(podOf({ containers: [{ name: 'c', resources: resources('/2', '/64Mi') }] })), 2);
});

test('what a pod holds at once: init containers end, sidecars stay', (t) => {
  const sidecar = { restartPolicy: 'Always' as const };
  const pod = guaranteed(
    'a',
    ['1', '1500m'],
    [container('i1', '2'), container('s', '1', sidecar), container('i2', '3')],
  );
  t.is(podExclusiveCpuCount(pod), 4);
  t.is(podExclusiveCpuCount(guaranteed('a', ['3', '2'], [container('i', '4')])), 5);
});

test('the shared pool shrinks and grows; the checkpoint survives', async (t) => {
  let changes = 0;
  const { manager, root, value } = await managerOf(t, { onChange: async () => void changes++ });
  t.is(shared(manager), '0-7');
  await take(manager, guaranteed('a', ['2']));
  t.is(cpus(manager, 'a'), '1,5');
  t.is(shared(manager), '0,2-4,6-7');
  await take(manager, guaranteed('b', ['1', '1500m']));
  t.is(cpus(manager, 'b'), '4');
  t.is(cpus(manager, 'b', 'c1'), shared(manager));
  t.true(manager.hasAnyExclusive('b'));
  t.false(manager.hasExclusive('b', 'c1'));
  t.is(changes, 2);
  t.is(await value('kubelet_cpu_manager_exclusive_cpu_allocation_count'), 3);
  t.is(await value('kubelet_cpu_manager_shared_pool_size_millicores'), 4000);
  t.is(await value('kubelet_cpu_manager_allocation_per_numa', { numa_node: '0' }), 3);
  t.is(await value('kubelet_cpu_manager_pinning_requests_total'), 2);

  const { manager: again } = await managerOf(t, { root });
  t.is(cpus(again, 'a'), '1,5');
  t.is(cpus(again, 'b'), '4');
  await take(again, guaranteed('a', ['2']));
  t.is(cpus(again, 'a'), '1,5', 'what it holds it keeps');
  again.remove('a');
  again.remove('a');
  t.is(shared(again), '0-3,5-7');
  t.deepEqual([...again.holders!()], ['b']);
  await take(again, guaranteed('d', ['1']));
  t.regex(await readFile(join(root, 'cpu_manager_state'), 'utf8'), /"b":\{"c0":"4"\},"d":\{"c0":"1"\}/);
});

test('more than is free: nothing is taken', async (t) => {
  const { manager, value } = await managerOf(t);
  await take(manager, guaranteed('a', ['6']));
  const error = await t.throwsAsync(take(manager, guaranteed('b', ['2'])));
  t.is(error?.message, 'not enough cpus available to satisfy request: requested=2, available=1');
  t.is(await value('kubelet_cpu_manager_pinning_errors_total'), 1);
  t.false(manager.hasAnyExclusive('b'));
});

test('init containers leave their CPUs to the same pod, sidecars do not', async (t) => {
  const { manager } = await managerOf(t);
  const pod = guaranteed('a', ['2'], [container('i', '4'), container('s', '1', { restartPolicy: 'Always' })]);
  await take(manager, pod);
  const init = manager.cpus('a', 'i');
  const app = manager.cpus('a', 'c0');
  const sidecar = manager.cpus('a', 's');
  t.true(app.isDisjointFrom(sidecar));
  t.is(init.size, 4);
  t.is(app.union(sidecar).union(init).union(manager.cpus('x', 'x')).size, 8);
  // Another pod never gets what an init container of this one had.
  await take(manager, guaranteed('b', ['1']));
  t.true(manager.cpus('b', 'c0').isDisjointFrom(init.union(app).union(sidecar)));
  manager.remove('a', 'i');
  t.true(app.isDisjointFrom(manager.cpus('nobody', 'x')), 'CPUs of the app are not given back with its init container');
});

test('full-pcpus-only: upstream’s reason and words', async (t) => {
  const { manager, value } = await managerOf(t, { options: { 'full-pcpus-only': 'true' }, reserved: '0' });
  const odd = await t.throwsAsync(take(manager, guaranteed('a', ['3'])), { name: 'AllocationError' });
  t.is(odd?.message, 'SMT Alignment Error: requested 3 cpus not multiple cpus per core = 2');
  t.is((odd as { reason?: string }).reason, 'SMTAlignmentError');
  // The sibling of the reserved CPU is half a core.
  const many = await t.throwsAsync(take(manager, guaranteed('a', ['8'])));
  t.is(
    many?.message,
    'SMT Alignment Error: not enough free physical CPUs: available physical CPUs = 6, requested CPUs = 8, CPUs per core = 2',
  );
  await take(manager, guaranteed('a', ['6']));
  t.is(cpus(manager, 'a'), '1-3,5-7');
  const labels = { scope: 'container', boundary: 'physical_cpu' };
  t.is(await value('kubelet_container_aligned_compute_resources_count', labels), 1);
  t.is(await value('kubelet_container_aligned_compute_resources_failure_count', labels), 2);
});

test('strict-cpu-reservation: shared containers stay off the reserved CPUs, unless there are no others', async (t) => {
  const { manager, root } = await managerOf(t, { options: { 'strict-cpu-reservation': 'true' }, reserved: '0,4' });
  t.is(shared(manager), '1-3,5-7');
  await take(manager, guaranteed('a', ['6']));
  t.is(shared(manager), '0,4');
  const { manager: again } = await managerOf(t, {
    root,
    options: { 'strict-cpu-reservation': 'true' },
    reserved: '0,4',
  });
  t.is(shared(again), '0,4');
  again.remove('a');
  t.is(shared(again), '1-3,5-7');
});

test('the affinity is followed, and left where it has too little', async (t) => {
  const { manager } = await managerOf(t, { shape: { sockets: 2, coresPerNuma: 4 } });
  await take(manager, guaranteed('a', ['2']), { numaNodes: numaMask([1]), preferred: true });
  t.is(cpus(manager, 'a'), '4-5');
  await take(manager, guaranteed('b', ['3']), { numaNodes: numaMask([1]), preferred: false });
  t.is(cpus(manager, 'b'), '1,6-7');
});

test('align-by-socket takes from the whole socket', async (t) => {
  const shape = { sockets: 2, numaPerSocket: 2, coresPerNuma: 2 };
  const { manager } = await managerOf(t, { shape, options: { 'align-by-socket': 'true' } });
  await take(manager, guaranteed('a', ['3']), { numaNodes: numaMask([2]), preferred: true });
  t.is(cpus(manager, 'a'), '4-6');
});

const hintsOf = (hints: ReturnType<CpuManager['hints']>) =>
  hints.get('cpu')?.map(({ numaNodes, preferred }) => `${numaNodesOf(numaNodes!).join('+')}${preferred ? '!' : ''}`);

test('hints: as few NUMA nodes as the machine allows are preferred', async (t) => {
  const { manager } = await managerOf(t, { shape: { sockets: 2, coresPerNuma: 4 } });
  const hints = (pod: Pod) => hintsOf(manager.hints(pod, pod.spec.containers[0]!));
  t.deepEqual(hints(guaranteed('a', ['2'])), ['0!', '1!', '0+1']);
  t.deepEqual(hints(guaranteed('a', ['4'])), ['1!', '0+1']);
  t.deepEqual(hints(guaranteed('a', ['6'])), ['0+1!']);
  t.deepEqual(hints(guaranteed('a', ['9'])), []);
  t.is(manager.hints(guaranteed('a', ['1500m']), container('c0', '1500m')).size, 0);
  await take(manager, guaranteed('a', ['2']), { numaNodes: numaMask([1]), preferred: true });
  t.deepEqual(hints(guaranteed('a', ['2'])), ['1!', '0+1'], 'made again of what it holds');
  t.deepEqual(hints(guaranteed('a', ['3'])), [], 'it holds another number');
  t.deepEqual(hints(guaranteed('b', ['3'])), ['0!', '0+1']);
  t.deepEqual(hintsOf(manager.podHints(guaranteed('b', ['1', '2']))), ['0!', '0+1']);
  t.deepEqual(hintsOf(manager.podHints(guaranteed('a', ['2']))), ['1!', '0+1']);
});

test('hints of a pod whose init container has CPUs already: they must be in reach', async (t) => {
  const { manager } = await managerOf(t, { shape: { sockets: 2, coresPerNuma: 4 } });
  const pod = guaranteed('a', ['2'], [container('i', '1')]);
  await manager.allocate(pod, pod.spec.initContainers![0]!, { numaNodes: numaMask([1]), preferred: true });
  t.deepEqual(hintsOf(manager.hints(pod, pod.spec.containers[0]!)), ['1!', '0+1']);
});

test('hints with align-by-socket: nodes of one socket are as good', async (t) => {
  const shape = { sockets: 2, numaPerSocket: 2, coresPerNuma: 2 };
  const { manager } = await managerOf(t, { shape, options: { 'align-by-socket': 'true' } });
  const pod = guaranteed('a', ['2']);
  t.deepEqual(
    hintsOf(manager.hints(pod, pod.spec.containers[0]!))?.filter((hint) => hint.endsWith('!')),
    ['1!', '2!', '3!', '0+1!', '2+3!'],
  );
});

test('reserved CPUs: by name, or the first cores', (t) => {
  const topology = buildCpuTopology(machineOf({ coresPerNuma: 4, threads: 2 }));
  const reserved = (named: string, millis: number) =>
    formatCpuList(computeReservedCpus(topology, parseCpuList(named), millis));
  t.is(reserved('', 1), '0');
  t.is(reserved('', 1500), '0,4');
  t.is(reserved('3,7', 5000), '3,7');
  t.throws(() => reserved('', 0), { message: /needs CPUs that stay with the system: set reservedSystemCPUs/ });
  t.throws(() => reserved('7-8', 0), { message: /does not have online: 8 \(it has 0-7\)/ });
});

test('the state cannot be written: the pod is refused and holds nothing', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'berth-cpu-'));
  const { manager } = await managerOf(t, { root });
  await rm(root, { recursive: true });
  await writeFile(root, 'in the way');
  t.teardown(() => rm(root));
  await t.throwsAsync(take(manager, guaranteed('a', ['1'])), { message: /cannot write the checkpoint/ });
  t.is(shared(manager), '0-7');
});

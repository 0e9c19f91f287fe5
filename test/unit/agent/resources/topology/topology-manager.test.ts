import test from 'ava';
import {
  AllocationError,
  type HintProvider,
  type TopologyHint,
} from '../../../../../agent/resources/topology/hint-provider.ts';
import { createManagerMetrics } from '../../../../../agent/resources/topology/manager-metrics.ts';
import type { TopologyPolicy } from '../../../../../agent/resources/topology/merge-hints.ts';
import { numaMask, numaNodesOf } from '../../../../../agent/resources/topology/numa-mask.ts';
import { buildNumaMachine, createTopologyManager } from '../../../../../agent/resources/topology/topology-manager.ts';
import { silentLogger } from '../../../../../src/runtime/log.ts';
import { Registry } from '../../../../../src/runtime/metrics.ts';
import { createFakeClock } from '../../../../fakes/clock.ts';
import { podOf } from '../../pod.ts';

const pod = podOf({ initContainers: [{ name: 'init', image: 'i' }], containers: [{ name: 'a' }, { name: 'b' }] });
const none: readonly never[] = [];
const signal = new AbortController().signal;
const preferring = (...nodes: number[]): TopologyHint => ({ numaNodes: numaMask(nodes), preferred: true });

/** A provider that writes down what it is asked; `hints` by container, '' for the pod. */
function provider(
  name: string,
  hints: Record<string, TopologyHint[]> = {},
  failing: Record<string, AllocationError> = {},
) {
  const calls: string[] = [];
  const held = new Set<string>();
  const asMap = (list: TopologyHint[] | undefined) => new Map(list ? [[name, list]] : []);
  const one: HintProvider = {
    name,
    hints: (_, { name: container }) => asMap(hints[container]),
    podHints: () => asMap(hints['']),
    allocate({ metadata }, { name: container }, { numaNodes, preferred }) {
      const where = numaNodes === undefined ? 'any' : numaNodesOf(numaNodes).join('+');
      calls.push(`${container} ${where}${preferred ? '!' : ''}`);
      if (failing[container]) throw failing[container];
      held.add(metadata.uid);
    },
    remove(uid) {
      held.delete(uid);
      calls.push(`remove ${uid}`);
    },
    holders: () => held,
  };
  return { one, calls };
}

function managerOf(policy: TopologyPolicy, providers: HintProvider[], scope: 'container' | 'pod' = 'container') {
  const registry = new Registry();
  const manager = createTopologyManager(
    { policy, scope, machine: { nodes: [0, 1] } },
    { providers, metrics: createManagerMetrics(registry), clock: createFakeClock(), log: silentLogger },
  );
  const value = async (name: string) => {
    const { values } = await registry.getSingleMetric(`kubelet_${name}`)!.get();
    return values.reduce((sum, one) => sum + one.value, 0);
  };
  return { manager, value };
}

test('policy none: everybody allocates, without affinity, init containers first', async (t) => {
  const [cpu, nic] = [provider('cpu', { a: [] }), provider('nic')];
  const { manager, value } = managerOf('none', [cpu.one, nic.one]);
  t.is(await manager.admit(pod, none, signal), undefined);
  t.deepEqual(cpu.calls, ['init any', 'a any', 'b any']);
  t.deepEqual(nic.calls, cpu.calls);
  t.is(await value('topology_manager_admission_requests_total'), 1);
  t.is(await value('topology_manager_admission_errors_total'), 0);
});

test('scope container: each container for itself', async (t) => {
  const cpu = provider('cpu', { a: [preferring(0)], b: [preferring(1)] });
  const { manager } = managerOf('restricted', [cpu.one, provider('nic').one]);
  t.is(await manager.admit(pod, none, signal), undefined);
  t.deepEqual(cpu.calls, ['init 0+1!', 'a 0!', 'b 1!']);
});

test('scope pod: all containers where the pod as a whole fits', async (t) => {
  const cpu = provider('cpu', { '': [preferring(1)], a: [preferring(0)] });
  const { manager, value } = managerOf('single-numa-node', [cpu.one], 'pod');
  t.is(await manager.admit(pod, none, signal), undefined);
  t.deepEqual(cpu.calls, ['init 1!', 'a 1!', 'b 1!']);
  t.is(await value('container_aligned_compute_resources_count'), 1);
});

test('no agreement: upstream’s reason and words, and nothing is held', async (t) => {
  const cpu = provider('cpu', { a: [preferring(0)], b: [preferring(0)] });
  const nic = provider('nic', { b: [preferring(1)] });
  const { manager, value } = managerOf('single-numa-node', [cpu.one, nic.one]);
  t.deepEqual(await manager.admit(pod, none, signal), {
    reason: 'TopologyAffinityError',
    message: 'Resources cannot be allocated with Topology locality',
  });
  t.deepEqual(cpu.calls, ['init any!', 'a 0!', 'remove uid-1']);
  t.is(await value('topology_manager_admission_errors_total'), 1);
  t.is(await value('container_aligned_compute_resources_failure_count'), 1);
  const effort = managerOf('best-effort', [cpu.one, nic.one]).manager;
  t.is(await effort.admit(pod, none, signal), undefined);
});

test('a provider that cannot: its reason, or the unexpected one', async (t) => {
  const smt = provider(
    'cpu',
    {},
    { b: new AllocationError('SMT Alignment Error: …', { reason: 'SMTAlignmentError' }) },
  );
  t.deepEqual(await managerOf('none', [smt.one]).manager.admit(pod, none, signal), {
    reason: 'SMTAlignmentError',
    message: 'SMT Alignment Error: …',
  });
  const first = provider('cpu');
  const other = provider('nic', {}, { a: new AllocationError('no more devices') });
  t.deepEqual(await managerOf('none', [first.one, other.one]).manager.admit(pod, none, signal), {
    reason: 'UnexpectedAdmissionError',
    message: 'Allocate failed due to no more devices, which is unexpected',
  });
  t.deepEqual([...first.one.holders!()], []);
});

test('what runs already is never refused, and keeps what can be had', async (t) => {
  const cpu = provider('cpu', { a: [preferring(0)] }, { a: new AllocationError('all gone') });
  const { manager } = managerOf('restricted', [cpu.one, provider('nic', { a: [preferring(1)] }).one]);
  await manager.readmit!(pod);
  t.deepEqual(cpu.calls, ['init 0+1!', 'a any', 'b 0+1!']);
  t.deepEqual([...cpu.one.holders!()], ['uid-1']);
});

test('what pods hold that are gone is taken back', async (t) => {
  const cpu = provider('cpu');
  const { manager } = managerOf('none', [cpu.one]);
  await manager.admit(pod, none, signal);
  manager.retain!(new Set(['uid-1']));
  t.deepEqual([...cpu.one.holders!()], ['uid-1']);
  manager.retain!(new Set(['uid-2']));
  t.deepEqual([...cpu.one.holders!()], []);
  manager.release!('uid-1');
});

test('more NUMA nodes than are weighed', (t) => {
  const nodes = Array.from({ length: 9 }, (_, id) => ({ id, distances: [] }));
  const options = { preferClosestNumaNodes: false, maxAllowableNumaNodes: 8 };
  t.throws(() => buildNumaMachine(nodes, options), {
    message: /weighs up to 8 NUMA nodes and this machine has 9.*max-allowable-numa-nodes/,
  });
  t.is(buildNumaMachine(nodes, { ...options, maxAllowableNumaNodes: 9 }).nodes.length, 9);
});

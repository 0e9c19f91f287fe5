/**
 * CPU, memory and topology manager together, on machines of several NUMA nodes as sysfs shows them. Pods come and go at random; an oracle that keeps its
 * own books says whether a pod fits on one node, and that it is on one.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { createCpuManager } from '../../../../../agent/resources/cpu-manager/cpu-manager.ts';
import { buildCpuTopology } from '../../../../../agent/resources/cpu-manager/cpu-topology.ts';
import { parseCpuPolicyOptions } from '../../../../../agent/resources/cpu-manager/policy-options.ts';
import { createMemoryManager } from '../../../../../agent/resources/memory-manager/memory-manager.ts';
import { computeReservedMemory } from '../../../../../agent/resources/memory-manager/reserved-memory.ts';
import { applyAssignments } from '../../../../../agent/resources/topology/assignments.ts';
import { readMachineTopology } from '../../../../../agent/resources/topology/machine.ts';
import { createManagerMetrics } from '../../../../../agent/resources/topology/manager-metrics.ts';
import { buildNumaMachine, createTopologyManager } from '../../../../../agent/resources/topology/topology-manager.ts';
import type { Pod } from '../../../../../src/kube/types.ts';
import { parseCpuList } from '../../../../../src/linux/cpu-list.ts';
import { silentLogger } from '../../../../../src/runtime/log.ts';
import { Registry } from '../../../../../src/runtime/metrics.ts';
import { createFakeClock } from '../../../../fakes/clock.ts';
import { type MachineShape, machineOf, writeSysfs } from '../../../../support/fake-machine.ts';
import { podOf, resources } from '../../pod.ts';

const GiB = 2 ** 30;
const MACHINES: Record<string, MachineShape & { scopes?: ('container' | 'pod')[] }> = {
  '2 sockets': { scopes: ['container'], sockets: 2, coresPerNuma: 6, memoryBytes: 8 * GiB },
  '4 nodes, SMT': { sockets: 2, numaPerSocket: 2, coresPerNuma: 4, threads: 2, memoryBytes: 8 * GiB },
  '8 nodes, SMT': { scopes: ['pod'], sockets: 2, numaPerSocket: 4, coresPerNuma: 4, threads: 2, memoryBytes: 8 * GiB },
};

for (const [title, shape] of Object.entries(MACHINES))
  for (const scope of shape.scopes ?? (['container', 'pod'] as const))
    test(`single-numa-node, scope ${scope}, ${title}: on one node or refused, and refused only when none has room`, async (t) => {
      let seed = 3;
      const random = (below: number) => {
        seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
        return Math.floor((seed / 2 ** 32) * below);
      };
      const root = await mkdtemp(join(tmpdir(), 'berth-numa-'));
      t.teardown(() => rm(root, { recursive: true, maxRetries: 5 }));
      await writeSysfs(join(root, 'sys'), machineOf(shape));
      const machine = await readMachineTopology(join(root, 'sys'));
      const metrics = createManagerMetrics(new Registry());
      const common = { metrics, nowMs: Date.now, onUnsaved: (error: unknown) => t.fail(String(error)) };
      const cpu = await createCpuManager(
        {
          topology: buildCpuTopology(machine),
          reserved: parseCpuList('0'),
          policy: parseCpuPolicyOptions({}),
          statePath: join(root, 'cpu_manager_state'),
        },
        { ...common, onChange: async () => {} },
      );
      const reserved = computeReservedMemory(machine.numaNodes, [{ numaNode: 0, limits: { memory: '1Gi' } }], GiB);
      const memory = await createMemoryManager(
        { nodes: machine.numaNodes, reserved, statePath: join(root, 'memory_manager_state') },
        common,
      );
      const admission = createTopologyManager(
        {
          policy: 'single-numa-node',
          scope,
          machine: buildNumaMachine(machine.numaNodes, { preferClosestNumaNodes: false, maxAllowableNumaNodes: 8 }),
        },
        { providers: [cpu, memory], metrics, clock: createFakeClock(), log: silentLogger },
      );

      // The oracle's books: CPUs and GiB that are left on each node.
      const left = machine.numaNodes.map(({ id }) => ({
        cpus: [...machine.cpus.values()].filter(({ numa }) => numa === id).length - (id === 0 ? 1 : 0),
        gib: id === 0 ? 7 : 8,
      }));
      const here = new Map<string, { node: number; cpus: number; gib: number }>();
      let refused = 0;
      for (let round = 0; round < 80; round++) {
        for (const [uid, { node, cpus, gib }] of here) {
          if (random(4 * left.length) > 0) continue;
          admission.release!(uid);
          left[node]!.cpus += cpus;
          left[node]!.gib += gib;
          here.delete(uid);
        }
        const uid = `uid-${round}`;
        const [cpus, gib] = [1 + random(6), 1 + random(5)];
        const pod: Pod = podOf(
          { containers: [{ name: 'c', resources: resources(`${cpus}/${cpus}`, `${gib}Gi/${gib}Gi`) }] },
          { uid },
        );
        const rejection = await admission.admit(pod, [], new AbortController().signal);
        if (rejection) {
          refused++;
          t.is(rejection.reason, 'TopologyAffinityError');
          t.false(
            left.some((node) => node.cpus >= cpus && node.gib >= gib),
            `${uid} would fit`,
          );
          continue;
        }
        const nodes = new Set([...cpu.cpus(uid, 'c')].map((one) => machine.cpus.get(one)!.numa));
        t.deepEqual([...nodes], memory.nodes(uid, 'c'));
        t.is(nodes.size, 1);
        const [node] = [...nodes];
        left[node!]!.cpus -= cpus;
        left[node!]!.gib -= gib;
        t.true(left[node!]!.cpus >= 0 && left[node!]!.gib >= 0);
        here.set(uid, { node: node!, cpus, gib });
      }
      t.true(refused > 3 && refused < 75, `${refused} refused`);
    });

test('what the Engine is told: CPUs and memory nodes, no quota on CPUs of one’s own', (t) => {
  const limited = { CpuShares: 1024, CpuQuota: 100_000, CpuPeriod: 100_000, Memory: GiB };
  t.deepEqual(applyAssignments(limited, { cpusetCpus: '2-3', cpusetMems: '1', quotaOff: true }), {
    CpuShares: 1024,
    Memory: GiB,
    CpusetCpus: '2-3',
    CpusetMems: '1',
  });
  t.deepEqual(applyAssignments(limited, { cpusetCpus: '0-3' }), { ...limited, CpusetCpus: '0-3' });
  t.deepEqual(applyAssignments(limited, {}), limited);
});

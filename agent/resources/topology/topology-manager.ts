import type { Pod } from '../../../src/kube/types.ts';
import type { Clock } from '../../../src/runtime/clock.ts';
import { ExplainedError } from '../../../src/runtime/explained-error.ts';
import type { Logger } from '../../../src/runtime/log.ts';
import type { AdmitHandler, Rejection } from '../../pods/admission-ports.ts';
import { AllocationError, type HintProvider, type ResourceHints, type TopologyHint } from './hint-provider.ts';
import type { ManagerMetrics } from './manager-metrics.ts';
import { mergeHints, type NumaMachine, type TopologyPolicy } from './merge-hints.ts';
import { allContainers } from './pod-containers.ts';
import type { TopologyPolicyOptions } from './policy-options.ts';

export interface TopologyManagerOptions {
  policy: TopologyPolicy;
  /** Whether each container is aligned for itself or all of a pod together. */
  scope: 'container' | 'pod';
  machine: NumaMachine;
}

export interface TopologyManagerDependencies {
  /** In the order in which they are asked to allocate. */
  providers: readonly HintProvider[];
  metrics: ManagerMetrics;
  clock: Clock;
  log: Logger;
}

const NO_AFFINITY: TopologyHint = { preferred: false };
const AFFINITY_ERROR = new AllocationError('Resources cannot be allocated with Topology locality', {
  reason: 'TopologyAffinityError',
});

/**
 * Sets CPUs, memory and devices aside for a pod, from NUMA nodes on which all of them agree as far as the policy wants it. A pod that is refused, here or by
 * whoever is asked next, has taken nothing.
 */
export function createTopologyManager(
  { policy, scope, machine }: TopologyManagerOptions,
  { providers, metrics, clock, log }: TopologyManagerDependencies,
): AdmitHandler {
  const guaranteesAlignment = policy === 'single-numa-node';

  /** @throws AllocationError when the policy wants more agreement than there is. */
  function align(policyName: Exclude<TopologyPolicy, 'none'>, hints: readonly ResourceHints[]): TopologyHint {
    const { hint, admit } = mergeHints(policyName, machine, hints);
    if (admit) {
      if (guaranteesAlignment) metrics.aligned(scope, 'numa_node');
      return hint;
    }
    if (guaranteesAlignment) metrics.misaligned(scope, 'numa_node');
    throw AFFINITY_ERROR;
  }

  async function take(pod: Pod): Promise<void> {
    const forPod =
      policy !== 'none' && scope === 'pod'
        ? align(
            policy,
            providers.map((provider) => provider.podHints(pod)),
          )
        : NO_AFFINITY;
    for (const container of allContainers(pod)) {
      const affinity =
        policy !== 'none' && scope === 'container'
          ? align(
              policy,
              providers.map((provider) => provider.hints(pod, container)),
            )
          : forPod;
      for (const provider of providers) await provider.allocate(pod, container, affinity);
    }
  }

  function release(uid: string): void {
    for (const provider of providers) provider.remove(uid);
  }

  return {
    name: 'topology',
    async admit(pod) {
      const startedMs = clock.monotonicMs();
      let rejection: Rejection | undefined;
      try {
        await take(pod);
      } catch (error) {
        release(pod.metadata.uid);
        rejection = toRejection(error);
      }
      metrics.admission(clock.monotonicMs() - startedMs, rejection === undefined);
      return rejection;
    },
    /** It runs: what the checkpoints have for it is kept, what they lack is taken where it can be had. */
    async readmit(pod) {
      const affinities = readmissionAffinities(pod);
      for (const container of allContainers(pod))
        for (const provider of providers)
          try {
            await provider.allocate(pod, container, affinities(container.name));
          } catch (error) {
            log.warn(
              {
                pod: pod.metadata.name,
                uid: pod.metadata.uid,
                container: container.name,
                resource: provider.name,
                err: error,
              },
              'a running container cannot be given what it asks for: it goes on without',
            );
          }
    },
    release,
    retain(uids) {
      for (const provider of providers)
        for (const uid of [...(provider.holders?.() ?? [])]) if (!uids.has(uid)) provider.remove(uid);
    },
  };

  /** Where the policy would put its containers now; no affinity where it would refuse. */
  function readmissionAffinities(pod: Pod): (container: string) => TopologyHint {
    if (policy === 'none') return () => NO_AFFINITY;
    const hintFor = (hints: readonly ResourceHints[]) => {
      const { hint, admit } = mergeHints(policy, machine, hints);
      return admit ? hint : NO_AFFINITY;
    };
    if (scope === 'pod') {
      const hint = hintFor(providers.map((provider) => provider.podHints(pod)));
      return () => hint;
    }
    return (name) => {
      const container = allContainers(pod).find((one) => one.name === name)!;
      return hintFor(providers.map((provider) => provider.hints(pod, container)));
    };
  }
}

/** Upstream's reasons and words. */
function toRejection(error: unknown): Rejection {
  if (error instanceof AllocationError && error.reason !== 'UnexpectedAdmissionError')
    return { reason: error.reason, message: error.message };
  const cause = error instanceof Error ? error.message : String(error);
  return { reason: 'UnexpectedAdmissionError', message: `Allocate failed due to ${cause}, which is unexpected` };
}

/** What the merge needs of the machine. @throws ExplainedError when it has more nodes than the options let it weigh */
export function buildNumaMachine(
  numaNodes: readonly { id: number; distances: readonly number[] }[],
  { maxAllowableNumaNodes, preferClosestNumaNodes }: TopologyPolicyOptions,
): NumaMachine {
  if (numaNodes.length > maxAllowableNumaNodes)
    throw new ExplainedError(
      `the topology manager weighs up to ${maxAllowableNumaNodes} NUMA nodes and this machine has ${numaNodes.length}: set topologyManagerPolicy to "none", or raise max-allowable-numa-nodes in topologyManagerPolicyOptions`,
    );
  const nodes = numaNodes.map(({ id }) => id);
  return { nodes, ...(preferClosestNumaNodes && { distances: numaNodes.map(({ distances }) => distances) }) };
}

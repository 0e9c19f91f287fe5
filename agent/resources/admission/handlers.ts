import type { Pod } from '../../../src/kube/types.ts';
import type { AdmitHandlers, Rejection } from '../../pods/admission-ports.ts';
import { isCriticalPod } from '../critical.ts';
import { whyForbiddenSysctl } from '../sysctls.ts';
import { findShortages, rejectShortage, type Shortage } from './fit.ts';
import type { AdmittingNode } from './node.ts';
import { checkPredicates, NODE_AFFINITY } from './predicates.ts';
import { choosePreempted, formatNeeds } from './preemption.ts';

export interface NodeAdmissionDependencies {
  /** As it is known at that moment. */
  node(): AdmittingNode;
  /** As the API server has it now; absent where there is none. Rejects when it does not answer. */
  refreshNode?(): Promise<AdmittingNode>;
  /** Ends these pods, so that a critical one has room, which lacks this resource first. Resolves when they have ended, or take too long. */
  preempt(victims: readonly Pod[], resource: string, signal: AbortSignal): Promise<void>;
}

/** What this node itself decides on a pod (sheet §17), from its labels, taints and resources at that moment. */
export function createNodeAdmission(deps: NodeAdmissionDependencies): AdmitHandlers {
  async function checkPlace(pod: Pod, others: readonly Pod[]): Promise<Rejection | undefined> {
    const rejection = checkPredicates(pod, others, deps.node());
    if (rejection?.reason !== NODE_AFFINITY || !deps.refreshNode) return rejection;
    // The scheduler may know labels that we have not heard of.
    const fresh = await deps.refreshNode().catch(() => undefined);
    return fresh ? checkPredicates(pod, others, fresh) : rejection;
  }

  async function makeRoom(pod: Pod, others: readonly Pod[], shortages: readonly Shortage[], signal: AbortSignal) {
    // Nobody ends for a pod that could not come in anyway.
    const rejection = await checkPlace(pod, others);
    if (rejection) return rejection;
    const needs = new Map(
      shortages.map(({ resource, requested, used, capacity }) => [resource, requested - (capacity - used)]),
    );
    const choice = choosePreempted(pod, others, needs);
    if ('lacking' in choice) {
      const why = `no set of running pods found to reclaim resources: ${formatNeeds(choice.lacking)}`;
      return {
        reason: 'UnexpectedAdmissionError',
        message: `Unexpected error while attempting to recover from admission failure: preemption: error finding a set of pods to preempt: ${why}`,
      };
    }
    await deps.preempt(choice.victims, shortages[0]!.resource, signal);
    return undefined;
  }

  return {
    sysctls: {
      name: 'sysctls',
      admit(pod) {
        const message = whyForbiddenSysctl(pod, deps.node().allowedUnsafeSysctls);
        return message === undefined ? undefined : { reason: 'SysctlForbidden', message };
      },
    },
    allocation: {
      name: 'allocation',
      admit(pod, others, signal) {
        const shortages = findShortages(pod, others, deps.node().allocatable);
        if (shortages.length === 0) return undefined;
        return isCriticalPod(pod) ? makeRoom(pod, others, shortages, signal) : rejectShortage(shortages[0]!);
      },
    },
    predicates: { name: 'predicates', admit: checkPlace },
  };
}

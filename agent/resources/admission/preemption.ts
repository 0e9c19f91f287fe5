import type { Pod } from '../../../src/kube/types.ts';
import { isCriticalPod } from '../critical.ts';
import { podQosClass } from '../qos.ts';
import { requestOf } from './fit.ts';

/** What a critical pod lacks: amounts by resource name. */
export type Needs = ReadonlyMap<string, number>;

/** Pods of the node that end, so that a critical one has what it needs; `lacking`: no set of them suffices. */
export type Preemption = { victims: Pod[] } | { lacking: Needs };

/**
 * As few pods as possible, of the lowest QoS classes that suffice, and among those the ones that ask for little (upstream's order: no
 * Guaranteed pod goes if Burstable and BestEffort ones suffice, and so on). Pure.
 */
export function choosePreempted(critical: Pod, others: readonly Pod[], needs: Needs): Preemption {
  const preemptable = others.filter((other) => isPreemptable(critical, other));
  const lacking = subtract(needs, preemptable);
  if (lacking.size > 0) return { lacking };
  const ofClass = (qos: string) => preemptable.filter((pod) => podQosClass(pod) === qos);
  const [bestEffort, burstable, guaranteed] = [ofClass('BestEffort'), ofClass('Burstable'), ofClass('Guaranteed')];
  const fromGuaranteed = chooseClosest(guaranteed, subtract(needs, [...bestEffort, ...burstable]));
  const fromBurstable = chooseClosest(burstable, subtract(needs, [...bestEffort, ...fromGuaranteed]));
  const fromBestEffort = chooseClosest(bestEffort, subtract(needs, [...fromBurstable, ...fromGuaranteed]));
  return { victims: [...fromBestEffort, ...fromBurstable, ...fromGuaranteed] };
}

/** Whether one pod may make another go: a critical one all that are not, else by priority. */
export function isPreemptable(preemptor: Pod, other: Pod): boolean {
  if (isCriticalPod(preemptor) && !isCriticalPod(other)) return true;
  const [mine, others] = [preemptor.spec.priority, other.spec.priority];
  return mine !== undefined && others !== undefined && mine > others;
}

/** Upstream's words for what is lacking: `[(res: cpu, q: 500), ]`. */
export function formatNeeds(needs: Needs): string {
  return `[${[...needs].map(([resource, amount]) => `(res: ${resource}, q: ${amount}), `).join('')}]`;
}

/** Again and again the pod that brings what is needed nearest to nothing; there are enough of them. */
function chooseClosest(pods: readonly Pod[], needs: Needs): Pod[] {
  const left = [...pods];
  const chosen: Pod[] = [];
  for (let rest = needs; rest.size > 0 && left.length > 0; rest = subtract(rest, chosen.slice(-1))) {
    let best = 0;
    left.forEach((pod, index) => {
      const difference = distance(pod, rest) - distance(left[best]!, rest);
      if (difference < 0 || (difference === 0 && asksForLess(pod, left[best]!))) best = index;
    });
    chosen.push(...left.splice(best, 1));
  }
  return chosen;
}

/** Of each need the share that stays, squared: needs of all sizes weigh the same. */
function distance(pod: Pod, needs: Needs): number {
  let sum = 0;
  for (const [resource, amount] of needs) sum += Math.max(0, (amount - requestOf(pod, resource)) / amount) ** 2;
  return sum;
}

function asksForLess(one: Pod, other: Pod): boolean {
  for (const resource of ['memory', 'cpu']) {
    const difference = requestOf(one, resource) - requestOf(other, resource);
    if (difference !== 0) return difference < 0;
  }
  return false;
}

function subtract(needs: Needs, pods: readonly Pod[]): Map<string, number> {
  const rest = new Map<string, number>();
  for (const [resource, amount] of needs) {
    const left = pods.reduce((sum, pod) => sum - requestOf(pod, resource), amount);
    if (left > 0) rest.set(resource, left);
  }
  return rest;
}

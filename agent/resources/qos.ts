import type { Pod } from '../../src/kube/types.ts';
import { limitsOf, plus, type ResourceAmounts, requestsOf } from './requests.ts';

export type QosClass = 'Guaranteed' | 'Burstable' | 'BestEffort';

const COUNTED = ['cpu', 'memory'];

/**
 * Guaranteed: every container (or the pod as a whole) limits cpu and memory and requests just that; BestEffort: nobody
 * asks for either; else Burstable.
 */
export function podQosClass(pod: Pod): QosClass {
  const { containers, initContainers = [], resources } = pod.spec;
  const requirements = resources?.requests || resources?.limits ? [resources] : undefined;
  let requests: ResourceAmounts = {};
  let limits: ResourceAmounts = {};
  let everyoneLimited = true;
  for (const one of requirements ?? [...containers, ...initContainers].map((container) => container.resources)) {
    const ownLimits = counted(limitsOf(one));
    requests = plus(requests, counted(requestsOf(one)));
    limits = plus(limits, ownLimits);
    everyoneLimited &&= COUNTED.every((name) => name in ownLimits);
  }
  if (Object.keys(requests).length === 0 && Object.keys(limits).length === 0) return 'BestEffort';
  return everyoneLimited && COUNTED.every((name) => requests[name] === limits[name]) ? 'Guaranteed' : 'Burstable';
}

function counted(amounts: ResourceAmounts): ResourceAmounts {
  return Object.fromEntries(Object.entries(amounts).filter(([name, amount]) => COUNTED.includes(name) && amount > 0));
}

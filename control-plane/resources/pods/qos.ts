import { parseQuantity } from '../../../src/kube/quantity.ts';
import type { PodQOSClass, PodSpec, ResourceRequirements } from '../../../src/kube/types.ts';

const COMPUTE_RESOURCES = ['cpu', 'memory'] as const;

/**
 * status.qosClass: Guaranteed when every container limits cpu and memory and requests just that, BestEffort when none
 * asks for anything, else Burstable. Resources of the pod as a whole, when given, decide alone.
 */
export function qosClassOf(spec: PodSpec): PodQOSClass {
  const whole = spec.resources;
  const judged: ResourceRequirements[] =
    whole && (whole.limits || whole.requests)
      ? [whole]
      : [...(spec.containers ?? []), ...(spec.initContainers ?? [])].map((container) => container.resources ?? {});
  const asks = judged.some(({ limits, requests }) =>
    COMPUTE_RESOURCES.some((name) => amount(limits, name) > 0n || amount(requests, name) > 0n),
  );
  if (!asks) return 'BestEffort';
  const isFixed = ({ limits, requests }: ResourceRequirements) =>
    COMPUTE_RESOURCES.every((name) => {
      const limit = amount(limits, name);
      const request = requests?.[name] === undefined ? limit : amount(requests, name);
      return limit > 0n && request === limit;
    });
  return judged.every(isFixed) ? 'Guaranteed' : 'Burstable';
}

function amount(list: Record<string, string> | undefined, name: string): bigint {
  const quantity = list?.[name];
  return quantity === undefined ? 0n : parseQuantity(quantity).nano;
}

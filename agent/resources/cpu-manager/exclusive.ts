import type { Container, Pod } from '../../../src/kube/types.ts';
import { podQosClass } from '../qos.ts';
import { isSidecar, requestsOf } from '../requests.ts';

/**
 * How many CPUs are the container's own under the static policy; 0: it runs in the shared pool. Own ones are had by containers of Guaranteed pods
 * whose cpu request is a whole number; not by pods that ask as a whole (`spec.resources`), as upstream without its alpha gates. Pure.
 */
export function exclusiveCpuCount(pod: Pod, container: Container): number {
  if (pod.spec.resources?.requests || pod.spec.resources?.limits) return 0;
  if (podQosClass(pod) !== 'Guaranteed') return 0;
  const millis = requestsOf(container.resources).cpu ?? 0;
  return millis % 1000 === 0 ? millis / 1000 : 0;
}

/** What the pod holds at once at most: init containers end before the others start, sidecars stay. Pure. */
export function podExclusiveCpuCount(pod: Pod): number {
  let sidecars = 0;
  let init = 0;
  for (const container of pod.spec.initContainers ?? []) {
    const count = exclusiveCpuCount(pod, container);
    if (isSidecar(container)) sidecars += count;
    else init = Math.max(init, sidecars + count);
  }
  const running = pod.spec.containers.reduce((sum, container) => sum + exclusiveCpuCount(pod, container), sidecars);
  return Math.max(init, running);
}

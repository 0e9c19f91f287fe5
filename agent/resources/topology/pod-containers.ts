import type { Container, Pod } from '../../../src/kube/types.ts';
import { isSidecar } from '../requests.ts';

/** Init containers first: the order in which resources are given. */
export function allContainers(pod: Pod): Container[] {
  return [...(pod.spec.initContainers ?? []), ...pod.spec.containers];
}

/** It ends before the next container starts, so that what it holds can be used again by the same pod. */
export function endsBeforeOthers(pod: Pod, container: Container): boolean {
  return (pod.spec.initContainers ?? []).some((one) => one.name === container.name && !isSidecar(one));
}

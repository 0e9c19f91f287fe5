import { compareQuantities } from '../../../src/kube/quantity.ts';
import type { Container, ResourceRequirements } from '../../../src/kube/types.ts';
import { sameRequirements } from '../../resources/allocation/pod-allocation.ts';

type Part = 'requests' | 'limits';

/**
 * What has to be done to a running container that has other resources than were allocated to it: `update` while it runs,
 * or `restart` where its resizePolicy says so for a resource that changes. A memory request is nothing that the kernel has
 * been told, so that it restarts nobody (as upstream).
 */
export function computeContainerResize(
  allocated: Container,
  actuated: ResourceRequirements | undefined,
): 'update' | 'restart' | undefined {
  if (actuated === undefined || sameRequirements(allocated.resources, actuated)) return undefined;
  const differs = (name: string, part: Part) =>
    !sameAmount(allocated.resources?.[part]?.[name], actuated[part]?.[name]);
  const changed = new Set<string>();
  if (differs('cpu', 'requests') || differs('cpu', 'limits')) changed.add('cpu');
  if (differs('memory', 'limits')) changed.add('memory');
  const restarts = allocated.resizePolicy?.some(
    ({ resourceName, restartPolicy }) => changed.has(resourceName) && restartPolicy === 'RestartContainer',
  );
  return restarts ? 'restart' : 'update';
}

function sameAmount(one: string | undefined, other: string | undefined): boolean {
  if (one === undefined || other === undefined) return one === other;
  return compareQuantities(one, other) === 0;
}

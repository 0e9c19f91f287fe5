import type { ContainerDevices } from '../../../src/grpc/pod-resources.ts';
import type { Allocation } from './allocations.ts';
import { NO_NODE } from './allocations.ts';
import type { Inventory } from './inventory.ts';

/** Devices as the pod resources API shows them: one at a time, under each NUMA node that it is near to, as upstream. */
export function describeHeldDevices(held: ReadonlyMap<string, Allocation>): ContainerDevices[] {
  return [...held.keys()]
    .sort()
    .flatMap((resource) =>
      [...held.get(resource)!.devices].flatMap(([node, ids]) => ids.map((id) => one(resource, id, node))),
    );
}

/** All that can be given, whoever has it now. */
export function describeAllocatableDevices(inventory: Inventory): ContainerDevices[] {
  return inventory.resources().flatMap((resource) => {
    const devices = inventory.devices(resource);
    return inventory.healthy(resource).flatMap((id) => {
      const nodes = devices.get(id)?.numaNodes;
      return nodes ? nodes.map((node) => one(resource, id, node)) : [one(resource, id, NO_NODE)];
    });
  });
}

function one(resourceName: string, id: string, node: number): ContainerDevices {
  return { resourceName, deviceIds: [id], topology: node === NO_NODE ? undefined : { nodes: [{ id: node }] } };
}

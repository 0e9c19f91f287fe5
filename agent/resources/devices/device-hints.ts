import type { TopologyHint } from '../topology/hint-provider.ts';
import { countNumaNodes, forEachNumaSubset, type NumaMask, numaMask } from '../topology/numa-mask.ts';
import type { Devices } from './inventory.ts';

export interface HintRequest {
  /** All of the resource. */
  devices: Devices;
  /** Of the machine. */
  numaNodes: readonly number[];
  /** Could be given to the container. */
  available: ReadonlySet<string>;
  /** Would come first, wherever they are. */
  reusable: ReadonlySet<string>;
  requested: number;
}

/** Whether the plugin says of any device where it is. */
export function hasTopology(devices: Devices): boolean {
  return [...devices.values()].some(({ numaNodes }) => numaNodes !== undefined);
}

/**
 * Every set of NUMA nodes that has enough of the devices; preferred are those of as few nodes as any set with enough
 * devices, used or not, has. Upstream's generateDeviceTopologyHints. Pure.
 */
export function computeDeviceHints(request: HintRequest): TopologyHint[] {
  const { devices, numaNodes, available, reusable, requested } = request;
  const masks = new Map([...devices].map(([id, device]) => [id, numaMask((device.numaNodes ?? []).filter(isNode))]));
  const isNear = (id: string, mask: NumaMask) => ((masks.get(id) ?? 0n) & mask) !== 0n;
  const count = (ids: Iterable<string>, mask: NumaMask) => [...ids].filter((id) => isNear(id, mask)).length;
  let fewest = numaNodes.length;
  const found: NumaMask[] = [];
  forEachNumaSubset(numaNodes, (mask) => {
    if (count(devices.keys(), mask) >= requested) fewest = Math.min(fewest, countNumaNodes(mask));
    const placed = [...reusable].filter((id) => devices.get(id)?.numaNodes !== undefined);
    if (!placed.every((id) => isNear(id, mask))) return;
    if (placed.length + count(available, mask) >= requested) found.push(mask);
  });
  return found.map((mask) => ({ numaNodes: mask, preferred: countNumaNodes(mask) === fewest }));
}

/** Plugins say -1 for "none". */
const isNode = (node: number) => node >= 0;

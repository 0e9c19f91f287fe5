import type { NumaMask } from '../topology/numa-mask.ts';
import type { Devices } from './inventory.ts';

export interface DeviceChoice {
  resource: string;
  /** How many the container asks for. */
  required: number;
  /** All of the resource, sick ones too: where they are. */
  devices: Devices;
  healthy: readonly string[];
  /** Given to any container. */
  inUse: ReadonlySet<string>;
  /** Of the pod's init containers that are over by then: taken first. */
  reusable: ReadonlySet<string>;
  /** Where the topology manager wants them; undefined: anywhere. */
  affinity: NumaMask | undefined;
}

/** What the plugin prefers among the available ones; undefined: it has no opinion. */
export type PreferDevices = (
  available: readonly string[],
  mustInclude: readonly string[],
  size: number,
) => Promise<readonly string[] | undefined>;

/**
 * Which devices a container gets: what its pod holds already and no longer needs, then those within the affinity, then
 * the others; within each, as the plugin prefers. Upstream's order and messages; where it takes any, the first by name.
 * @throws Error when there are too few
 */
export async function chooseDevices(choice: DeviceChoice, prefer: PreferDevices): Promise<string[]> {
  const { resource, required, healthy, inUse } = choice;
  if (healthy.length === 0)
    throw new Error(`no healthy devices present; cannot allocate unhealthy devices ${resource}`);
  const chosen = new Set<string>();
  const isDone = () => chosen.size >= required;
  const take = (ids: Iterable<string>) => {
    for (const id of [...ids].sort()) if (!isDone()) chosen.add(id);
  };
  const isHealthy = new Set(healthy);
  take([...choice.reusable].filter((id) => isHealthy.has(id)));
  if (isDone()) return [...chosen];

  const available = healthy.filter((id) => !inUse.has(id) && !chosen.has(id));
  const needed = required - chosen.size;
  if (available.length < needed)
    throw new Error(
      `requested number of devices unavailable for ${resource}. Requested: ${needed}, Available: ${available.length}`,
    );
  const { aligned, unaligned, noAffinity } = sortByAffinity(available, choice.devices, choice.affinity);
  const preferFrom = async (candidates: readonly string[]) => {
    const preferred = await prefer([...new Set([...candidates, ...chosen])].sort(), [...chosen].sort(), required);
    const candidate = new Set(candidates);
    take((preferred ?? []).filter((id) => candidate.has(id)));
  };
  if (needed < aligned.length) await preferFrom(aligned);
  take(aligned);
  if (!isDone()) await preferFrom(available);
  take(unaligned);
  take(noAffinity);
  return [...chosen];
}

interface ByAffinity {
  aligned: string[];
  unaligned: string[];
  noAffinity: string[];
}

/** Within the affinity, elsewhere, and nowhere in particular. A device near to several nodes is aligned if one of them is wanted. Pure. */
export function sortByAffinity(
  available: readonly string[],
  devices: Devices,
  affinity: NumaMask | undefined,
): ByAffinity {
  const sorted: ByAffinity = { aligned: [], unaligned: [], noAffinity: [] };
  const isAligning = [...devices.values()].some(({ numaNodes }) => numaNodes !== undefined);
  for (const id of available) {
    const nodes = devices.get(id)?.numaNodes ?? [];
    if (!isAligning || affinity === undefined || nodes.length === 0) sorted.noAffinity.push(id);
    else if (nodes.some((node) => isIn(node, affinity))) sorted.aligned.push(id);
    else sorted.unaligned.push(id);
  }
  return sorted;
}

function isIn(node: number, mask: NumaMask): boolean {
  return node >= 0 && ((mask >> BigInt(node)) & 1n) === 1n;
}

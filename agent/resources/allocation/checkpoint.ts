import type { ResourceRequirements } from '../../../src/kube/types.ts';
import type { PodAllocation } from './pod-allocation.ts';

/** Resources by pod UID. */
export type PodAllocations = ReadonlyMap<string, PodAllocation>;

/** Not what the agent wrote: cut short, changed by hand, or of another shape. */
export class CheckpointError extends Error {
  override readonly name = 'CheckpointError';
}

/** The text of a checkpoint in upstream's shape: `{"data": "<JSON>", "checksum": <number>}`, names in order. */
export function renderCheckpoint(allocations: PodAllocations): string {
  const entries = Object.fromEntries(
    [...allocations].sort(byName).map(([uid, { ContainerResources, PodLevelResources }]) => [
      uid,
      {
        ContainerResources: Object.fromEntries(Object.entries(ContainerResources).sort(byName)),
        ...(PodLevelResources && { PodLevelResources }),
      },
    ]),
  );
  const data = JSON.stringify(allocations.size > 0 ? { entries } : {});
  return JSON.stringify({ data, checksum: checksumOf(data) });
}

/** Throws CheckpointError. */
export function parseCheckpoint(text: string): Map<string, PodAllocation> {
  const { data, checksum } = object(parseJson(text), 'the file') as { data?: unknown; checksum?: unknown };
  if (typeof data !== 'string' || typeof checksum !== 'number')
    throw new CheckpointError('it has no data with a checksum');
  const actual = checksumOf(data);
  if (actual !== checksum) throw new CheckpointError(`its checksum is ${checksum}, that of its data is ${actual}`);
  const entries = object(object(parseJson(data), 'data')['entries'] ?? {}, 'entries');
  return new Map(Object.entries(entries).map(([uid, entry]) => [uid, parseEntry(uid, object(entry, uid))]));
}

function parseEntry(uid: string, entry: Record<string, unknown>): PodAllocation {
  const containers = Object.entries(object(entry['ContainerResources'] ?? {}, `${uid}.ContainerResources`));
  const podLevel = entry['PodLevelResources'];
  return {
    ContainerResources: Object.fromEntries(
      containers.map(([name, resources]) => [name, object(resources, `${uid}.${name}`) as ResourceRequirements]),
    ),
    ...(podLevel ? { PodLevelResources: object(podLevel, `${uid}.PodLevelResources`) as ResourceRequirements } : {}),
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new CheckpointError(`it is not JSON: ${(error as Error).message}`);
  }
}

function object(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new CheckpointError(`${what} is no object`);
  return value as Record<string, unknown>;
}

/** FNV-1a of 32 bits over the Go syntax of the string, as upstream's checkpoint manager computes it. */
function checksumOf(data: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(`(string)${data}`)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash;
}

function byName([one]: readonly [string, unknown], [other]: readonly [string, unknown]): number {
  return one < other ? -1 : one > other ? 1 : 0;
}

import type { ResourceRequirements } from '../../../src/kube/types.ts';
import { CorruptCheckpointError, parseCheckpointJson } from '../checkpoints/checkpoint-file.ts';
import { fnv32a } from '../checkpoints/go-hash.ts';
import type { PodAllocation } from './pod-allocation.ts';

/** Resources by pod UID. */
export type PodAllocations = ReadonlyMap<string, PodAllocation>;

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

/** @throws CorruptCheckpointError */
export function parseCheckpoint(text: string): Map<string, PodAllocation> {
  const { data, checksum } = parseCheckpointJson(text);
  if (typeof data !== 'string' || typeof checksum !== 'number')
    throw new CorruptCheckpointError('it has no data with a checksum');
  const actual = checksumOf(data);
  if (actual !== checksum)
    throw new CorruptCheckpointError(`its checksum is ${checksum}, that of its data is ${actual}`);
  const entries = object(parseCheckpointJson(data)['entries'] ?? {}, 'entries');
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

function object(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new CorruptCheckpointError(`${what} is no object`);
  return value as Record<string, unknown>;
}

/** Over the Go syntax of the string. */
const checksumOf = (data: string) => fnv32a(`(string)${data}`);

function byName([one]: readonly [string, unknown], [other]: readonly [string, unknown]): number {
  return one < other ? -1 : one > other ? 1 : 0;
}

import { ContainerAllocateResponse } from '../../../src/grpc/device-plugin.ts';
import { CorruptCheckpointError, parseCheckpointJson } from '../checkpoints/checkpoint-file.ts';
import { fnv32a, printGoMap } from '../checkpoints/go-hash.ts';
import type { AllocationEntry } from './allocations.ts';

export interface DeviceCheckpoint {
  entries: AllocationEntry[];
  /** Healthy devices of each resource, as they were. */
  registered: ReadonlyMap<string, readonly string[]>;
}

interface WireEntry {
  PodUID: string;
  ContainerName: string;
  ResourceName: string;
  DeviceIDs: Record<string, string[]>;
  /** Base64 of the plugin's answer, as it came. */
  AllocResp: string;
}

interface WireCheckpoint {
  Data: { PodDeviceEntries: WireEntry[] | null; RegisteredDevices: Record<string, string[]> | null };
  Checksum: number;
}

/** The text of `kubelet_internal_checkpoint`: upstream's, so that either agent can go on where the other stopped. Pure. */
export function renderDeviceCheckpoint({ entries, registered }: DeviceCheckpoint): string {
  const sorted = [...registered].sort(([left], [right]) => compare(left, right));
  const data: WireCheckpoint['Data'] = {
    PodDeviceEntries: entries.length === 0 ? null : entries.map(renderEntry).sort(compareEntries),
    RegisteredDevices: Object.fromEntries(sorted.map(([resource, ids]) => [resource, [...ids].sort()])),
  };
  const wire: WireCheckpoint = { Data: data, Checksum: checksum(data) };
  return JSON.stringify(wire);
}

function renderEntry({ podUid, container, resource, devices, response }: AllocationEntry): WireEntry {
  return {
    PodUID: podUid,
    ContainerName: container,
    ResourceName: resource,
    DeviceIDs: Object.fromEntries([...devices].map(([node, ids]) => [String(node), [...ids]])),
    AllocResp: ContainerAllocateResponse.encode(response).toString('base64'),
  };
}

/**
 * Reads it back. Pure.
 * @throws CorruptCheckpointError that says what is wrong with it
 */
export function parseDeviceCheckpoint(text: string): DeviceCheckpoint {
  const { Data: data, Checksum: expected } = parseCheckpointJson(text) as Partial<WireCheckpoint>;
  if (!data || typeof data !== 'object') throw new CorruptCheckpointError('it has no Data');
  const entries = data.PodDeviceEntries ?? [];
  if (!Array.isArray(entries)) throw new CorruptCheckpointError('Data.PodDeviceEntries is not a list');
  for (const [index, entry] of entries.entries()) checkEntry(entry, `Data.PodDeviceEntries[${index}]`);
  for (const [resource, ids] of Object.entries(data.RegisteredDevices ?? {}))
    if (!isTexts(ids))
      throw new CorruptCheckpointError(`Data.RegisteredDevices[${resource}] is not a list of device ids`);
  const actual = checksum(data);
  if (expected !== actual)
    throw new CorruptCheckpointError(`its checksum is ${expected}, that of its content ${actual}`);
  return {
    entries: entries.map((entry) => ({
      podUid: entry.PodUID,
      container: entry.ContainerName,
      resource: entry.ResourceName,
      devices: new Map(Object.entries(entry.DeviceIDs).map(([node, ids]) => [Number(node), ids])),
      response: decodeResponse(entry),
    })),
    registered: new Map(Object.entries(data.RegisteredDevices ?? {})),
  };
}

function decodeResponse({ AllocResp, PodUID }: WireEntry): ContainerAllocateResponse {
  try {
    return ContainerAllocateResponse.decode(Buffer.from(AllocResp, 'base64'));
  } catch (error) {
    throw new CorruptCheckpointError(
      `the AllocResp of pod ${PodUID} is no answer of a plugin: ${(error as Error).message}`,
    );
  }
}

function checkEntry(entry: WireEntry, at: string): void {
  for (const field of ['PodUID', 'ContainerName', 'ResourceName', 'AllocResp'] as const)
    if (typeof entry?.[field] !== 'string') throw new CorruptCheckpointError(`${at}.${field} is not a text`);
  const nodes = Object.entries(entry.DeviceIDs ?? {});
  if (!nodes.every(([node, ids]) => Number.isInteger(Number(node)) && isTexts(ids)))
    throw new CorruptCheckpointError(`${at}.DeviceIDs does not give device ids by NUMA node`);
}

const isTexts = (value: unknown): boolean => Array.isArray(value) && value.every((one) => typeof one === 'string');

/** As Go prints the data for its hash. */
function checksum({ PodDeviceEntries, RegisteredDevices }: WireCheckpoint['Data']): number {
  const lists = (map: Record<string, string[]>) =>
    Object.entries(map).map(([key, ids]) => [key, ids.join(' ')] as const);
  const entries = PodDeviceEntries?.map((entry) => {
    const devices = lists(entry.DeviceIDs).map(([node, ids]) => [Number(node), `[${ids}]`] as const);
    const bytes = [...Buffer.from(entry.AllocResp, 'base64')];
    return (
      `{PodUID:(string)${entry.PodUID} ContainerName:(string)${entry.ContainerName} ` +
      `ResourceName:(string)${entry.ResourceName} DeviceIDs:(checkpoint.DevicesPerNUMA)${printGoMap(devices)} ` +
      `AllocResp:([]uint8)[${bytes.join(' ')}]}`
    );
  });
  const registered = RegisteredDevices && lists(RegisteredDevices).map(([name, ids]) => [name, `[${ids}]`] as const);
  return fnv32a(
    `(checkpoint.checkpointData){PodDeviceEntries:([]checkpoint.PodDevicesEntry)${
      entries ? `[${entries.join(' ')}]` : '<nil>'
    } RegisteredDevices:(map[string][]string)${registered ? printGoMap(registered) : '<nil>'}}`,
  );
}

const compare = (left: string, right: string) => (left < right ? -1 : left > right ? 1 : 0);

function compareEntries(left: WireEntry, right: WireEntry): number {
  const key = ({ PodUID, ContainerName, ResourceName }: WireEntry) => `${PodUID} ${ContainerName} ${ResourceName}`;
  return compare(key(left), key(right));
}

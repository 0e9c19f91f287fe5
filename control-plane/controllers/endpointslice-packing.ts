import { isDeepStrictEqual } from 'node:util';
import type { Endpoint, EndpointSlice } from '../../src/kube/types.ts';
import { type EndpointGroup, portsKey } from './endpoint.ts';

export const MAX_ENDPOINTS_PER_SLICE = 100;

export interface SlicePlan {
  /** New slices by their content. */
  create: EndpointGroup[];
  /** Slices whose endpoints change. */
  update: { slice: EndpointSlice; endpoints: Endpoint[] }[];
  remove: EndpointSlice[];
  /** Slices whose endpoints are right as they are. */
  keep: EndpointSlice[];
}

/**
 * Distributes endpoints over slices so that few slices are written: endpoints stay where they are, slices that change
 * anyway take new ones, then one unchanged slice that has the room, and only then new slices are made. Upstream's order.
 * `existing` are this Service's slices of one family. Without endpoints one empty slice remains, as upstream leaves one.
 */
export function packSlices(groups: readonly EndpointGroup[], existing: readonly EndpointSlice[]): SlicePlan {
  const plan: SlicePlan = { create: [], update: [], remove: [], keep: [] };
  const wanted = groups.length > 0 ? groups : [{ ports: [], endpoints: [] }];
  const byPorts = Map.groupBy(existing, (slice) => portsKey(slice.ports));
  for (const group of wanted) {
    const key = portsKey(group.ports);
    packGroup(plan, group, byPorts.get(key) ?? []);
    byPorts.delete(key);
  }
  for (const slices of byPorts.values()) plan.remove.push(...slices);
  return plan;
}

function packGroup(plan: SlicePlan, group: EndpointGroup, slices: readonly EndpointSlice[]): void {
  const missing = new Map(group.endpoints.map((endpoint) => [identity(endpoint), endpoint]));
  const changed: { slice: EndpointSlice; endpoints: Endpoint[] }[] = [];
  const unchanged: EndpointSlice[] = [];
  for (const slice of slices) {
    const endpoints = (slice.endpoints ?? []).flatMap((endpoint) => {
      const key = identity(endpoint);
      const now = missing.get(key);
      missing.delete(key);
      return now ? [now] : [];
    });
    if (isDeepStrictEqual(endpoints, slice.endpoints ?? [])) unchanged.push(slice);
    else changed.push({ slice, endpoints });
  }

  const left = [...missing.values()];
  // The fullest first, so that the others may become empty.
  changed.sort((a, b) => b.endpoints.length - a.endpoints.length);
  for (const { endpoints } of changed) endpoints.push(...left.splice(0, roomIn(endpoints)));
  if (left.length > 0) {
    const filled = fullestWithRoom(unchanged, left.length);
    if (filled) {
      unchanged.splice(unchanged.indexOf(filled), 1);
      changed.push({ slice: filled, endpoints: [...(filled.endpoints ?? []), ...left.splice(0)] });
    }
  }
  while (left.length > 0) plan.create.push({ ports: group.ports, endpoints: left.splice(0, MAX_ENDPOINTS_PER_SLICE) });

  const isEmptyGroup = group.endpoints.length === 0;
  for (const one of changed) {
    if (one.endpoints.length > 0) plan.update.push(one);
    else plan.remove.push(one.slice);
  }
  // A slice that was empty before is of use only as the placeholder of an empty group.
  for (const slice of unchanged) {
    const isNeeded = (slice.endpoints ?? []).length > 0 || (isEmptyGroup && plan.keep.length === 0);
    (isNeeded ? plan.keep : plan.remove).push(slice);
  }
  if (isEmptyGroup && plan.keep.length === 0) {
    const reused = plan.remove.findIndex((slice) => slices.includes(slice));
    if (reused >= 0) plan.update.push({ slice: plan.remove.splice(reused, 1)[0]!, endpoints: [] });
    else plan.create.push({ ports: group.ports, endpoints: [] });
  }
}

/** One endpoint through all its changes: the pod behind it and its address. */
function identity({ targetRef, addresses }: Endpoint): string {
  return `${targetRef?.uid ?? ''}|${targetRef?.name ?? ''}|${addresses[0]}`;
}

const roomIn = (endpoints: readonly Endpoint[]) => Math.max(0, MAX_ENDPOINTS_PER_SLICE - endpoints.length);

function fullestWithRoom(slices: readonly EndpointSlice[], count: number): EndpointSlice | undefined {
  return slices
    .filter(({ endpoints }) => roomIn(endpoints ?? []) >= count)
    .sort((a, b) => (b.endpoints?.length ?? 0) - (a.endpoints?.length ?? 0))[0];
}

import type { EndpointSlice, Endpoint as SliceEndpoint } from '../../src/kube/types.ts';
import type { IpFamily } from '../../src/netfilter/tables.ts';
import { addressOfFamily, joinHostPort } from './addresses.ts';
import type { Endpoint } from './model.ts';

/** Label of a slice that names its Service. */
export const SERVICE_NAME_LABEL = 'kubernetes.io/service-name';

/** `portName/PROTOCOL`: what a service port and the ports of slices have in common. */
export function portKey(portName: string, protocol: string): string {
  return `${portName}/${protocol}`;
}

/**
 * Merges all slices of one Service. While slices are being rewritten an address may stand in two of them: the entry
 * that is ready wins, then the one that is serving, then the local one, then the one in the later slice.
 * @returns by portKey, each list sorted by address
 */
export function mergeEndpointSlices(
  slices: readonly EndpointSlice[],
  family: IpFamily,
  nodeName: string,
): Map<string, Endpoint[]> {
  const merged = new Map<string, Map<string, Endpoint>>();
  const ordered = slices
    .filter(({ addressType }) => addressType === family)
    .sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
  for (const slice of ordered)
    for (const port of slice.ports ?? []) {
      if (!port.port) continue;
      const key = portKey(port.name ?? '', port.protocol ?? 'TCP');
      const byAddress = merged.get(key) ?? new Map<string, Endpoint>();
      merged.set(key, byAddress);
      for (const entry of slice.endpoints ?? []) {
        const endpoint = buildEndpoint(entry, port.port, family, nodeName);
        if (!endpoint) continue;
        const known = byAddress.get(endpoint.address);
        if (!known || rank(endpoint) >= rank(known)) byAddress.set(endpoint.address, endpoint);
      }
    }
  return new Map(
    [...merged].map(([key, byAddress]) => [
      key,
      [...byAddress.values()].sort((a, b) => (a.address < b.address ? -1 : 1)),
    ]),
  );
}

function rank({ isReady, isServing, isLocal }: Endpoint): number {
  return (isReady ? 4 : 0) + (isServing ? 2 : 0) + (isLocal ? 1 : 0);
}

function buildEndpoint(entry: SliceEndpoint, port: number, family: IpFamily, nodeName: string): Endpoint | undefined {
  // Only the first address means anything (API documentation of EndpointSlice).
  const ip = addressOfFamily(entry.addresses?.[0], family);
  if (!ip) return undefined;
  const { ready, serving, terminating } = entry.conditions ?? {};
  const isReady = ready ?? true;
  return {
    ip,
    port,
    address: joinHostPort(ip, port),
    isLocal: entry.nodeName === nodeName,
    isReady,
    isServing: serving ?? isReady,
    isTerminating: terminating ?? false,
    zoneHints: (entry.hints?.forZones ?? []).map(({ name }) => name),
    nodeHints: (entry.hints?.forNodes ?? []).map(({ name }) => name),
  };
}

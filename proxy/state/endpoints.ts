import type { EndpointSlice, Endpoint as SliceEndpoint } from '../../src/kube/types.ts';
import type { IpFamily } from '../../src/netfilter/tables.ts';
import { addressOfFamily, isReachable, joinHostPort } from './addresses.ts';
import type { Endpoint } from './model.ts';
import type { OnProblem } from './problem.ts';
import { isPort } from './service.ts';

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
  onProblem: OnProblem,
): Map<string, Endpoint[]> {
  const merged = new Map<string, Map<string, Endpoint>>();
  const ordered = slices
    .filter(({ addressType }) => addressType === family)
    .sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
  for (const slice of ordered) {
    const tell = (message: string) =>
      onProblem('InvalidEndpointSlice', `EndpointSlice ${slice.metadata.name}: ${message}`);
    const seen = new Set<string>();
    for (const port of listOf(slice.ports)) {
      // Without a number it means all ports, which no proxy can serve.
      if (port.port === undefined || port.port === null) continue;
      const key = portKey(port.name ?? '', port.protocol ?? 'TCP');
      if (!isPort(port.port)) {
        tell(`port ${port.port}: there is no such port; it is left out`);
        continue;
      }
      if (seen.has(key)) {
        tell(`port ${JSON.stringify(key)} is there twice; the first one counts`);
        continue;
      }
      seen.add(key);
      const byAddress = merged.get(key) ?? new Map<string, Endpoint>();
      merged.set(key, byAddress);
      for (const entry of listOf(slice.endpoints)) {
        const endpoint = buildEndpoint(entry, port.port, family, nodeName);
        if (!endpoint) {
          tell(
            `${JSON.stringify(entry?.addresses?.[0])} is no ${family} address that endpoints can have; it is left out`,
          );
          continue;
        }
        const known = byAddress.get(endpoint.address);
        if (!known || rank(endpoint) >= rank(known)) byAddress.set(endpoint.address, endpoint);
      }
    }
  }
  return new Map(
    [...merged].map(([key, byAddress]) => [
      key,
      [...byAddress.values()].sort((a, b) => (a.address < b.address ? -1 : 1)),
    ]),
  );
}

function listOf<T>(list: readonly T[] | null | undefined): readonly T[] {
  return Array.isArray(list) ? list : [];
}

/** One empty list for all: most endpoints have no hints. */
const NONE: readonly string[] = [];

function namesOf(hints: readonly { name: string }[] | undefined): readonly string[] {
  return hints?.length ? hints.map(({ name }) => name) : NONE;
}

function rank({ isReady, isServing, isLocal }: Endpoint): number {
  return (isReady ? 4 : 0) + (isServing ? 2 : 0) + (isLocal ? 1 : 0);
}

function buildEndpoint(entry: SliceEndpoint, port: number, family: IpFamily, nodeName: string): Endpoint | undefined {
  // Only the first address means anything (API documentation of EndpointSlice).
  const ip = addressOfFamily(entry?.addresses?.[0], family);
  if (!ip || !isReachable(ip)) return undefined;
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
    zoneHints: namesOf(entry.hints?.forZones),
    nodeHints: namesOf(entry.hints?.forNodes),
  };
}

import { isIPv6 } from 'node:net';
import type { InformerHandlers } from './object-store.ts';
import type { EndpointAddress, EndpointSlice, EndpointSubset, Endpoints, Endpoint as SliceEndpoint } from './types.ts';

const SERVICE_NAME_LABEL = 'kubernetes.io/service-name';

/**
 * The EndpointSlices that say what a core/v1 Endpoints object says: one per subset and IP family, named after both, so that a slice keeps its
 * name while its subset keeps its place. What Endpoints cannot say (serving and terminating, zones, hints) is absent.
 */
export function slicesOf(endpoints: Endpoints): EndpointSlice[] {
  return (endpoints.subsets ?? []).flatMap((subset, index) =>
    (['IPv4', 'IPv6'] as const).flatMap((addressType) => {
      const members = membersOf(subset, addressType);
      if (members.length === 0) return [];
      const { name, namespace, labels, annotations, uid, resourceVersion, creationTimestamp } = endpoints.metadata;
      return {
        apiVersion: 'discovery.k8s.io/v1',
        kind: 'EndpointSlice',
        metadata: {
          name: `${name}-${index}-${addressType.toLowerCase()}`,
          ...(namespace && { namespace }),
          uid,
          resourceVersion,
          creationTimestamp,
          labels: { ...labels, [SERVICE_NAME_LABEL]: name },
          ...(annotations && { annotations }),
        },
        addressType,
        endpoints: members,
        ports: (subset.ports ?? []).map((port) => ({ ...port })),
      };
    }),
  );
}

function membersOf(subset: EndpointSubset, addressType: 'IPv4' | 'IPv6'): SliceEndpoint[] {
  const members = (addresses: EndpointAddress[] | undefined, ready: boolean) =>
    (addresses ?? [])
      .filter(({ ip }) => isIPv6(ip) === (addressType === 'IPv6'))
      .map(({ ip, hostname, nodeName, targetRef }) => ({
        addresses: [ip],
        conditions: { ready },
        ...(hostname && { hostname }),
        ...(nodeName && { nodeName }),
        ...(targetRef && { targetRef }),
      }));
  return [...members(subset.addresses, true), ...members(subset.notReadyAddresses, false)];
}

/** Handlers for Endpoints that tell `handlers` what happened to the slices they stand for. */
export function asSliceHandlers(handlers: InformerHandlers<EndpointSlice>): InformerHandlers<Endpoints> {
  return {
    added: (endpoints) => tellDifference([], slicesOf(endpoints), handlers),
    updated: (old, endpoints) => tellDifference(slicesOf(old), slicesOf(endpoints), handlers),
    deleted: (endpoints) => tellDifference(slicesOf(endpoints), [], handlers),
  };
}

function tellDifference(
  before: EndpointSlice[],
  now: EndpointSlice[],
  handlers: InformerHandlers<EndpointSlice>,
): void {
  const old = new Map(before.map((slice) => [slice.metadata.name, slice]));
  const current = new Set(now.map((slice) => slice.metadata.name));
  for (const slice of before) if (!current.has(slice.metadata.name)) handlers.deleted?.(slice);
  for (const slice of now) {
    const previous = old.get(slice.metadata.name);
    if (previous) handlers.updated?.(previous, slice);
    else handlers.added?.(slice);
  }
}

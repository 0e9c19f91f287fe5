import type { Endpoint, NodeTopology, ServicePort } from './model.ts';
import { usesClusterEndpoints, usesLocalEndpoints } from './model.ts';

export interface CategorizedEndpoints {
  /** For traffic policy Cluster. */
  readonly cluster: readonly Endpoint[];
  /** For traffic policy Local. */
  readonly local: readonly Endpoint[];
  /** Union of both: each of them gets a chain. */
  readonly reachable: readonly Endpoint[];
  /** Whether there is a usable endpoint anywhere, on whatever node. */
  readonly hasAny: boolean;
}

/** Picks the endpoints that this node uses for a service port (kube-proxy's CategorizeEndpoints). */
export function categorizeEndpoints(
  endpoints: readonly Endpoint[],
  port: ServicePort,
  node: NodeTopology,
): CategorizedEndpoints {
  const ready = endpoints.filter(({ isReady }) => isReady);
  // Endpoints that are on their way out but still answer carry the load while nothing else does.
  const leaving = endpoints.filter((endpoint) => !endpoint.isReady && endpoint.isServing && endpoint.isTerminating);

  let cluster: readonly Endpoint[] = [];
  if (usesClusterEndpoints(port)) cluster = ready.length > 0 ? nearEnough(ready, node) : leaving;

  let local: readonly Endpoint[] = [];
  if (usesLocalEndpoints(port)) {
    local = ready.filter(({ isLocal }) => isLocal);
    if (local.length === 0) local = leaving.filter(({ isLocal }) => isLocal);
  }

  const wanted = new Set([...cluster, ...local]);
  return {
    cluster,
    local,
    reachable: endpoints.filter((endpoint) => wanted.has(endpoint)),
    hasAny: ready.length > 0 || leaving.length > 0,
  };
}

/**
 * Hints hold only when every ready endpoint has one and one of them names this node (then this node's zone): half
 * written hints, or hints that leave this node without an endpoint, must not cut anybody off.
 */
function nearEnough(ready: readonly Endpoint[], { nodeName, zone }: NodeTopology): readonly Endpoint[] {
  for (const [hints, here] of [
    [(endpoint: Endpoint) => endpoint.nodeHints, nodeName],
    [(endpoint: Endpoint) => endpoint.zoneHints, zone],
  ] as const) {
    const near = ready.filter((endpoint) => hints(endpoint).includes(here));
    if (here !== '' && near.length > 0 && ready.every((endpoint) => hints(endpoint).length > 0)) return near;
  }
  return ready;
}

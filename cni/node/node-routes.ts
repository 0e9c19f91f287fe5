import type { Route, RouteSpec } from '../../src/linux/netlink/routes.ts';
import { ROUTE_PROTOCOL } from './route-protocol.ts';

/** Behind every real route (the kernel's own `unreachable default` of IPv6 has the worst, 0xffffffff). */
const LAST_RESORT_METRIC = 4_278_198_272;
const MAIN_TABLE = 254;
const DEFAULT_DESTINATIONS = new Set(['0.0.0.0/0', '::/0']);

/**
 * The routes that a node needs whatever pods it has:
 *
 * - `unreachable <clusterCidr>` behind the real ones: what has no pod, or a node that is not known (yet), ends here with an
 *   error instead of leaving through the default route.
 * - `<serviceCidr> dev lo`, only while there is no default route. A process of the node that connects to a ClusterIP is routed
 *   before it is translated, and without any route the packet would never get to the rules. What no rule translates is
 *   rejected on the way out, so nothing ever arrives at `lo`.
 */
export function computeNodeRoutes(input: {
  clusterCidr: string;
  serviceCidr: string;
  loopbackIndex: number;
  routes: readonly Route[];
}): RouteSpec[] {
  const { clusterCidr, serviceCidr, loopbackIndex, routes } = input;
  const hasDefault = routes.some(
    (route) => route.table === MAIN_TABLE && route.type === 'unicast' && DEFAULT_DESTINATIONS.has(route.destination),
  );
  const base = { metric: LAST_RESORT_METRIC, protocol: ROUTE_PROTOCOL.node };
  return [
    { ...base, type: 'unreachable', destination: clusterCidr },
    ...(hasDefault ? [] : [{ ...base, type: 'unicast' as const, destination: serviceCidr, linkIndex: loopbackIndex }]),
  ];
}

/** What to add and delete so that, of the routes with our protocol number, exactly the wanted ones remain. Pure. */
export function diffNodeRoutes(
  want: readonly RouteSpec[],
  have: readonly Route[],
): { add: RouteSpec[]; remove: Route[] } {
  const own = have.filter((route) => route.protocol === ROUTE_PROTOCOL.node && route.table === MAIN_TABLE);
  const isSame = (spec: RouteSpec, route: Route) =>
    route.type === (spec.type ?? 'unicast') &&
    route.destination === spec.destination &&
    route.metric === (spec.metric ?? 0) &&
    (spec.linkIndex === undefined || route.linkIndex === spec.linkIndex);
  return {
    add: want.filter((spec) => !own.some((route) => isSame(spec, route))),
    remove: own.filter((route) => !want.some((spec) => isSame(spec, route))),
  };
}

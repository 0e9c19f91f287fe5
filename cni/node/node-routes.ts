import type { Route, RouteSpec } from '../../src/linux/netlink/routes.ts';
import { ROUTE_PROTOCOL } from './route-protocol.ts';

/** Behind every real route (the kernel's own `unreachable default` of IPv6 has the worst, 0xffffffff). */
const LAST_RESORT_METRIC = 4_278_198_272;
const MAIN_TABLE = 254;
const DEFAULT_DESTINATIONS = new Set(['0.0.0.0/0', '::/0']);

/**
 * The routes of one address family that a node needs whatever pods it has:
 *
 * - `unreachable <clusterCidr>` behind the real ones: what has no pod, or a node that is not known (yet), ends here with an
 *   error instead of leaving through the default route.
 * - `<serviceCidr> dev lo`, only while there is no default route. A process of the node that connects to a ClusterIP is routed
 *   before it is translated, and without any route the packet would never get to the rules. What no rule translates is
 *   rejected on the way out, so nothing ever arrives at `lo`. IPv6 makes any route over `lo` one that refuses: there it is the
 *   first link with an address of the host's or the pods', and none while there is no such link.
 */
export function computeNodeRoutes(input: {
  clusterCidr: string;
  /** undefined where Services have none of this family. */
  serviceCidr: string | undefined;
  loopbackIndex: number;
  routes: readonly Route[];
}): RouteSpec[] {
  const { clusterCidr, serviceCidr, loopbackIndex, routes } = input;
  const hasDefault = routes.some(
    (route) => route.table === MAIN_TABLE && route.type === 'unicast' && DEFAULT_DESTINATIONS.has(route.destination),
  );
  const base = { metric: LAST_RESORT_METRIC, protocol: ROUTE_PROTOCOL.node };
  const unreachable: RouteSpec = { ...base, type: 'unreachable', destination: clusterCidr };
  const linkIndex = serviceCidr?.includes(':') ? connectedLink(routes) : loopbackIndex;
  if (serviceCidr === undefined || hasDefault || linkIndex === undefined) return [unreachable];
  return [unreachable, { ...base, type: 'unicast', destination: serviceCidr, linkIndex }];
}

/** The kernel lists link-local networks of every link too; they say nothing. */
function connectedLink(routes: readonly Route[]): number | undefined {
  return routes.find(
    (route) =>
      route.table === MAIN_TABLE &&
      route.type === 'unicast' &&
      route.gateway === undefined &&
      route.protocol !== ROUTE_PROTOCOL.node &&
      !/^(fe80|ff00)::/.test(route.destination),
  )?.linkIndex;
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

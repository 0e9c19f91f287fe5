import type { Node } from '../../src/kube/types.ts';
import {
  formatPrefix,
  type IpPrefix,
  networkOf,
  parseIp,
  parsePrefix,
  prefixContains,
  prefixesOverlap,
} from '../../src/linux/ip.ts';
import type { Route, RouteSpec } from '../../src/linux/netlink/routes.ts';
import { ROUTE_PROTOCOL } from '../node/route-protocol.ts';

/** The node's own view of its links: which addresses it has, and which it reaches without a router. */
export interface LocalNetwork {
  /** Without prefix lengths. */
  addresses: readonly string[];
  /** The main table. */
  routes: readonly Route[];
  /** Links that lead to pods, not to nodes (the bridge). */
  podLinkIndexes: readonly number[];
}

export interface HostGatewayPlan {
  routes: RouteSpec[];
  /** Nodes whose pods can't be reached this way, with the reason. */
  skipped: { node: string; reason: string }[];
}

const MAIN_TABLE = 254;

/**
 * One route for every other node: its pod CIDR through its InternalIP. That works between nodes of one L2 network only: a router
 * in between does not know pods. Pure; nodes that have no pod CIDR or address yet are passed over in silence.
 */
export function computeHostGatewayRoutes(input: {
  nodeName: string;
  nodes: readonly Node[];
  local: LocalNetwork;
}): HostGatewayPlan {
  const { nodeName, nodes, local } = input;
  const plan: HostGatewayPlan = { routes: [], skipped: [] };
  const claims: { node: string; prefix: IpPrefix }[] = [];
  const own = nodes.find((node) => node.metadata.name === nodeName)?.spec.podCIDR;
  const ownPrefix = own === undefined ? undefined : parseCidr(own);
  if (ownPrefix) claims.push({ node: nodeName, prefix: ownPrefix });
  for (const node of nodes.filter(({ metadata }) => metadata.name !== nodeName).toSorted(byAge)) {
    const { name } = node.metadata;
    const skip = (reason: string) => plan.skipped.push({ node: name, reason });
    const gateway = node.status?.addresses?.find(({ type }) => type === 'InternalIP')?.address;
    const podCidr = node.spec.podCIDR;
    if (!gateway || !podCidr) continue;
    const prefix = parseCidr(podCidr);
    if (!prefix || !isIp(gateway)) {
      skip(`pod CIDR ${podCidr} or InternalIP ${gateway} is malformed`);
      continue;
    }
    const destination = formatPrefix(prefix);
    const clash = claims.find((claim) => prefixesOverlap(claim.prefix, prefix));
    if (clash) {
      skip(`its pod CIDR ${destination} clashes with ${formatPrefix(clash.prefix)} of node ${clash.node}`);
      continue;
    }
    if (local.addresses.includes(gateway)) {
      skip(`its InternalIP ${gateway} is an address of this node`);
      continue;
    }
    const linkIndex = findOnLink(gateway, local);
    if (linkIndex === undefined) {
      skip(`its InternalIP ${gateway} is in no subnet of this node: host-gw needs one L2 network`);
      continue;
    }
    claims.push({ node: name, prefix });
    plan.routes.push({ destination, gateway, linkIndex, metric: 0, protocol: ROUTE_PROTOCOL.overlay });
  }
  return plan;
}

/** The link of the most specific connected subnet (not the pods' own) that holds the address. */
function findOnLink(ip: string, { routes, podLinkIndexes }: LocalNetwork): number | undefined {
  const address = parseIp(ip);
  return routes
    .filter(
      (route) =>
        route.table === MAIN_TABLE &&
        route.type === 'unicast' &&
        route.gateway === undefined &&
        route.linkIndex !== undefined &&
        route.protocol !== ROUTE_PROTOCOL.node &&
        !podLinkIndexes.includes(route.linkIndex) &&
        prefixContains(parsePrefix(route.destination), address),
    )
    .toSorted((one, other) => prefixLength(other) - prefixLength(one))[0]?.linkIndex;
}

function prefixLength({ destination }: Route): number {
  return parsePrefix(destination).prefixLength;
}

/** Oldest first: a newcomer cannot take over the pods of a node that was there before it. */
function byAge({ metadata: one }: Node, { metadata: other }: Node): number {
  const key = ({ creationTimestamp, name }: Node['metadata']) => `${creationTimestamp} ${name}`;
  return key(one) < key(other) ? -1 : 1;
}

function parseCidr(text: string): IpPrefix | undefined {
  try {
    return networkOf(parsePrefix(text));
  } catch {
    return undefined;
  }
}

function isIp(text: string): boolean {
  try {
    parseIp(text);
    return true;
  } catch {
    return false;
  }
}

export interface RouteChanges {
  /** Not there yet. */
  add: RouteSpec[];
  /** There with our mark, leading elsewhere. */
  replace: RouteSpec[];
  /** Ours, and wanted no more. */
  remove: Route[];
}

/** What turns the overlay's routes in the kernel into the wanted ones. Pure; routes without our protocol number are not seen. */
export function diffRoutes(want: readonly RouteSpec[], have: readonly Route[]): RouteChanges {
  const own = have.filter((route) => route.protocol === ROUTE_PROTOCOL.overlay && route.table === MAIN_TABLE);
  const ownAt = (spec: RouteSpec) =>
    own.find((route) => route.destination === spec.destination && route.metric === (spec.metric ?? 0));
  const leadsElsewhere = (spec: RouteSpec, route: Route) =>
    route.gateway !== spec.gateway || route.linkIndex !== spec.linkIndex;
  return {
    add: want.filter((spec) => !ownAt(spec)),
    replace: want.filter((spec) => {
      const route = ownAt(spec);
      return route && leadsElsewhere(spec, route);
    }),
    remove: own.filter(
      (route) => !want.some((spec) => spec.destination === route.destination && (spec.metric ?? 0) === route.metric),
    ),
  };
}

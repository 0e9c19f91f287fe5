/**
 * The routes to the other nodes' pods, for every backend that has some: what it wants for each node in, netlink messages out.
 *
 *     set(node, routes)   one node came, went or moved: only its routes are written, compared with what was written before
 *     syncAll(routes)     reads the main table once and mends every difference: what somebody deleted, changed or left behind
 *
 * Ours are those with ROUTE_PROTOCOL.overlay. A route of another program to the same pods is in the way and is left alone, with one
 * exception: the very route that we want (flanneld's, whose place we take) becomes ours.
 */
import { parsePrefix } from '../../src/linux/ip.ts';
import type { Route, RouteSpec } from '../../src/linux/netlink/routes.ts';
import type { Rtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { isNetlinkError } from '../../src/linux/netlink/socket.ts';
import { ROUTE_PROTOCOL } from '../node/route-protocol.ts';
import type { SyncOutcome } from './backend.ts';

const MAIN_TABLE = 254;
/** What the kernel makes of an IPv6 route without a metric. */
const IPV6_METRIC = 1024;

/** A route to a node's pods; metric, protocol and table are given here. */
export type PeerRoute = Pick<RouteSpec, 'destination' | 'gateway' | 'linkIndex' | 'source' | 'onlink'>;

export interface OverlayRoutes {
  /** `routes` empty: the node is gone. Nodes whose routes are removed come before those that get some, since a pod CIDR may move. */
  set(changes: ReadonlyMap<string, readonly PeerRoute[]>): Promise<SyncOutcome>;
  syncAll(want: ReadonlyMap<string, readonly PeerRoute[]>): Promise<SyncOutcome>;
}

type Job = { node: string; work: () => Promise<number> };

export function createOverlayRoutes(netlink: Rtnetlink): OverlayRoutes {
  /** What was written for each node: so that one that changes costs its own routes only. */
  const written = new Map<string, readonly PeerRoute[]>();

  async function findForeign(route: PeerRoute): Promise<Route | undefined> {
    const { family } = parsePrefix(route.destination);
    const all = await netlink.listRoutes({ family, table: MAIN_TABLE });
    return all.find((other) => isSamePlace(route, other) && other.protocol !== ROUTE_PROTOCOL.overlay);
  }

  async function add(route: PeerRoute): Promise<number> {
    try {
      await netlink.addRoute(specOf(route));
      return 1;
    } catch (error) {
      if (!isNetlinkError(error, 'EEXIST')) throw error;
    }
    const foreign = await findForeign(route);
    if (foreign && !leadsAlike(route, foreign)) throw new Error(describeForeign(foreign));
    await netlink.replaceRoute(specOf(route));
    return 1;
  }

  async function replace(route: PeerRoute): Promise<number> {
    await netlink.replaceRoute(specOf(route));
    return 1;
  }

  async function remove(route: PeerRoute): Promise<number> {
    try {
      await netlink.deleteRoute(specOf(route));
      return 1;
    } catch (error) {
      // ENODEV: its link went, and the route with it.
      if (isNetlinkError(error, 'ESRCH', 'ENODEV')) return 0;
      throw error;
    }
  }

  /** All at once: the kernel takes them in the order in which they are sent. What fails is told by node; the others go on. */
  async function carryOut(jobs: readonly Job[]): Promise<SyncOutcome> {
    const skipped = new Map<string, string>();
    let changed = 0;
    const ends = await Promise.allSettled(jobs.map(({ work }) => work()));
    for (const [index, end] of ends.entries()) {
      if (end.status === 'fulfilled') changed += end.value;
      else skipped.set(jobs[index]!.node, end.reason instanceof Error ? end.reason.message : String(end.reason));
    }
    return { changed, skipped: [...skipped].map(([node, reason]) => ({ node, reason })) };
  }

  return {
    async set(changes) {
      const gone: Job[] = [];
      const come: Job[] = [];
      for (const [node, want] of changes) {
        const have = written.get(node) ?? [];
        for (const route of have)
          if (!want.some((one) => one.destination === route.destination))
            gone.push({ node, work: () => remove(route) });
        for (const route of want) {
          const before = have.find((one) => one.destination === route.destination);
          if (!before) come.push({ node, work: () => add(route) });
          else if (!isEqual(before, route)) come.push({ node, work: () => replace(route) });
        }
      }
      const removed = await carryOut(gone);
      const added = await carryOut(come);
      const skipped = [...removed.skipped, ...added.skipped];
      for (const [node, want] of changes) {
        // What failed is not remembered: the next change or the next full sync tries again.
        if (want.length > 0 && !skipped.some((one) => one.node === node)) written.set(node, want);
        else written.delete(node);
      }
      return { changed: removed.changed + added.changed, skipped };
    },

    async syncAll(want) {
      const routes = await netlink.listRoutes({ table: MAIN_TABLE });
      const own = new Map<string, Route>();
      const foreign = new Map<string, Route>();
      for (const route of routes) {
        const isOwn = route.protocol === ROUTE_PROTOCOL.overlay && route.type === 'unicast';
        if (isOwn || route.metric === metricOf(route.family)) (isOwn ? own : foreign).set(keyOf(route), route);
      }
      const jobs: Job[] = [];
      for (const [node, specs] of want)
        for (const route of specs) {
          const key = keyOf({ ...route, metric: metricOf(parsePrefix(route.destination).family) });
          const have = own.get(key);
          own.delete(key);
          const other = foreign.get(key);
          if (have && leadsAlike(route, have)) continue;
          if (have) jobs.push({ node, work: () => replace(route) });
          else if (!other) jobs.push({ node, work: () => add(route) });
          else if (leadsAlike(route, other)) jobs.push({ node, work: () => replace(route) });
          else jobs.push({ node, work: () => Promise.reject(new Error(describeForeign(other))) });
        }
      const leftovers = await carryOut([...own.values()].map((route) => ({ node: '', work: () => remove(route) })));
      const { changed, skipped } = await carryOut(jobs);
      written.clear();
      for (const [node, specs] of want) if (!skipped.some((one) => one.node === node)) written.set(node, specs);
      return { changed: leftovers.changed + changed, skipped: [...leftovers.skipped, ...skipped] };
    },
  };
}

/** Deletes every route of the overlay, whichever backend made it. Idempotent. */
export async function removeOverlayRoutes(netlink: Rtnetlink): Promise<void> {
  await removeRoutes(netlink, await netlink.listRoutes({ protocol: ROUTE_PROTOCOL.overlay }));
}

/** Deletes those that lead to other nodes' pods; what ends packets for our own stays. Idempotent. */
export async function removePeerRoutes(netlink: Rtnetlink): Promise<void> {
  const own = await netlink.listRoutes({ protocol: ROUTE_PROTOCOL.overlay });
  await removeRoutes(
    netlink,
    own.filter(({ type }) => type === 'unicast'),
  );
}

async function removeRoutes(netlink: Rtnetlink, routes: readonly Route[]): Promise<void> {
  for (const route of routes)
    await netlink.deleteRoute(route).catch((error) => {
      if (!isNetlinkError(error, 'ESRCH', 'ENODEV')) throw error;
    });
}

function specOf(route: PeerRoute): RouteSpec {
  return { ...route, metric: metricOf(parsePrefix(route.destination).family), protocol: ROUTE_PROTOCOL.overlay };
}

const metricOf = (family: 4 | 6) => (family === 4 ? 0 : IPV6_METRIC);

const keyOf = ({ destination, metric }: Pick<Route, 'destination' | 'metric'>) => `${destination} ${metric}`;

function isSamePlace(route: PeerRoute, other: Route): boolean {
  return other.destination === route.destination && other.metric === metricOf(other.family);
}

function isEqual(one: PeerRoute, other: PeerRoute): boolean {
  return one.gateway === other.gateway && one.linkIndex === other.linkIndex && one.source === other.source;
}

/** The kernel shows `onlink` of no use to us: it may drop the flag where the gateway is reachable anyway. */
function leadsAlike(route: PeerRoute, have: Route): boolean {
  return (
    have.type === 'unicast' &&
    isEqual(route, { ...have, source: route.source === undefined ? undefined : have.source }) &&
    have.linkIndex === route.linkIndex
  );
}

function describeForeign({ destination, gateway, linkIndex, protocol }: Route): string {
  const way = [gateway && `via ${gateway}`, linkIndex !== undefined && `link ${linkIndex}`].filter(Boolean).join(', ');
  return `another program has a route to its pods (${destination} ${way}, protocol ${protocol}): remove it (ip route del ${destination}) or stop that program`;
}

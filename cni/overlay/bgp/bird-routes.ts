import type { Route } from '../../../src/linux/netlink/routes.ts';
import { openRtnetlink, type Rtnetlink } from '../../../src/linux/netlink/rtnetlink.ts';
import { isNetlinkError } from '../../../src/linux/netlink/socket.ts';
import { runAll } from '../../../src/runtime/run-all.ts';
import type { Peer, SyncOutcome } from '../backend.ts';
import { BGP_ROUTE_METRIC, BIRD_ROUTE_PROTOCOL } from './bird-config.ts';
import { FAMILIES } from './sessions.ts';

const MAIN_TABLE = 254;

/** Whether our BIRD, or an earlier one of ours, wrote a route. */
export function isBirdRoute({ protocol, metric }: Pick<Route, 'protocol' | 'metric'>): boolean {
  return protocol === BIRD_ROUTE_PROTOCOL && metric === BGP_ROUTE_METRIC;
}

/** What our BIRD, or an earlier one of ours, wrote into the kernel. */
export function listBirdRoutes(hostNetns: string | undefined): Promise<Route[]> {
  return withNetlink(hostNetns, async (netlink) =>
    (await netlink.listRoutes({ protocol: BIRD_ROUTE_PROTOCOL })).filter(isBirdRoute),
  );
}

/** For when no BIRD runs any more: it leaves its routes. Idempotent. */
export async function removeBirdRoutes(hostNetns: string | undefined): Promise<void> {
  const own = await listBirdRoutes(hostNetns);
  await withNetlink(hostNetns, (netlink) =>
    runAll(
      'remove routes of bird',
      own.map((route) => () => netlink.deleteRoute(route).catch(ignoreGone)),
    ),
  );
}

/** Routes of others to the same pods, which come before ours: their traffic goes elsewhere, or nowhere. */
export async function findForeignRoutes(
  peers: ReadonlyMap<string, Peer>,
  hostNetns: string | undefined,
): Promise<SyncOutcome['skipped']> {
  const routes = await withNetlink(hostNetns, (netlink) => netlink.listRoutes({ table: MAIN_TABLE }));
  const foreign = new Map(
    routes.filter(({ metric }) => metric < BGP_ROUTE_METRIC).map((route) => [route.destination, route]),
  );
  return [...peers.values()].flatMap(({ node, podCidrs }) =>
    FAMILIES.flatMap((family) => {
      const route = podCidrs[family] && foreign.get(podCidrs[family]);
      if (!route) return [];
      const reason = `another program's route to its pods (${route.destination}, protocol ${route.protocol}) comes first: delete it`;
      return [{ node, reason }];
    }),
  );
}

/** The first of the addresses that no link of the host has. */
export async function findForeignAddress(
  wanted: readonly string[],
  hostNetns: string | undefined,
): Promise<string | undefined> {
  const addresses = await withNetlink(hostNetns, (netlink) => netlink.listAddresses());
  const own = new Set(addresses.map(({ address }) => address.split('/')[0]));
  return wanted.find((address) => !own.has(address));
}

async function withNetlink<T>(hostNetns: string | undefined, work: (netlink: Rtnetlink) => Promise<T>): Promise<T> {
  const netlink = openRtnetlink(hostNetns);
  try {
    return await work(netlink);
  } finally {
    netlink.close();
  }
}

function ignoreGone(error: unknown): void {
  if (!isNetlinkError(error, 'ESRCH')) throw error;
}

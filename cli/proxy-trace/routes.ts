import ipaddr from 'ipaddr.js';
import { openRtnetlink } from '../../src/linux/netlink/rtnetlink.ts';

const MAIN_TABLE = 254;
const LOCAL_TABLE = 255;

/** By which interface packets to an address leave; undefined without a route. */
export type RouteLookup = (address: string) => string | undefined;

/** The routes of this host as they stand: the longest prefix counts, then the lowest metric. */
export async function readRoutes(): Promise<RouteLookup> {
  const rtnetlink = openRtnetlink();
  try {
    const names = new Map((await rtnetlink.listLinks()).map(({ index, name }) => [index, name]));
    const routes = (await rtnetlink.listRoutes())
      .filter(({ table, linkIndex }) => (table === MAIN_TABLE || table === LOCAL_TABLE) && linkIndex !== undefined)
      .map((route) => ({ ...route, range: ipaddr.parseCIDR(route.destination) }))
      .sort((a, b) => b.range[1] - a.range[1] || a.metric - b.metric);
    return (address) => {
      const ip = ipaddr.parse(address);
      const route = routes.find(({ range }) => range[0].kind() === ip.kind() && ip.match(range));
      return names.get(route?.linkIndex ?? -1);
    };
  } finally {
    rtnetlink.close();
  }
}

import type { Attribute } from '../../src/linux/netlink/attributes.ts';
import type { Link } from '../../src/linux/netlink/links.ts';
import type { Rtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { CNI_ERROR, CniError, type CniResult } from '../types.ts';
import type { LinkSite } from './container-link.ts';
import { broken } from './failure.ts';

/** Which link the container's stands upon. */
export interface MasterConfig {
  /** Its name; undefined: the link of the default route. */
  master: string | undefined;
  /** It is in the container's namespace instead of the host's. */
  linkInContainer: boolean;
  /** Bytes; undefined: the master's. */
  mtu: number | undefined;
}

/**
 * The master, and a socket of the namespace that it is in.
 * @throws CniError 7 when there is none of that name, no default route to take it from, or its MTU is less than what is asked for.
 */
async function findMaster(
  { master, linkInContainer, mtu }: MasterConfig,
  site: { host: Rtnetlink; pod: Rtnetlink },
): Promise<{ link: Link; socket: Rtnetlink }> {
  const socket = linkInContainer ? site.pod : site.host;
  const link = await (master === undefined ? linkOfDefaultRoute(socket) : socket.getLink(master));
  if (!link)
    throw new CniError(
      CNI_ERROR.invalidNetworkConfig,
      master === undefined
        ? 'no default route interface found; name one in master'
        : `master: there is no link ${JSON.stringify(master)} ${linkInContainer ? 'in the container' : 'on the host'}`,
    );
  if (mtu !== undefined && mtu > link.mtu)
    throw new CniError(
      CNI_ERROR.invalidNetworkConfig,
      `invalid MTU ${mtu}, must be [0, master MTU(${link.mtu})] of ${link.name}`,
    );
  return { link, socket };
}

/**
 * Makes a link of a kind upon the master, down, in the container under `site.name`.
 * @throws CniError as `findMaster`, NetlinkError (EEXIST for an 802.1Q id that the master has, EBUSY for a master that is another's whole)
 */
export async function createUponMaster(
  kind: string,
  config: MasterConfig & { mac?: string },
  site: LinkSite,
  data: Attribute[],
): Promise<void> {
  const { link, socket } = await findMaster(config, site);
  const { name, netns } = site;
  await socket.createLink({ name, kind, lowerIndex: link.index, data, mtu: config.mtu, mac: config.mac, netns });
}

async function linkOfDefaultRoute(socket: Rtnetlink): Promise<Link | undefined> {
  const defaults = (await socket.listRoutes({ table: 254 }))
    .filter(({ destination, type }) => type === 'unicast' && (destination === '0.0.0.0/0' || destination === '::/0'))
    .toSorted((one, other) => one.family - other.family || one.metric - other.metric);
  const index = defaults.find(({ linkIndex }) => linkIndex !== undefined)?.linkIndex;
  return index === undefined ? undefined : socket.getLink(index);
}

/** CHECK: the link stands upon the master that the configuration names. */
export async function checkMaster(
  config: MasterConfig,
  link: Link,
  site: { host: Rtnetlink; pod: Rtnetlink },
): Promise<void> {
  const { link: master } = await findMaster(config, site);
  if (link.peerIndex !== master.index) throw broken(`${link.name} does not stand upon ${master.name}`);
  if (config.mtu !== undefined && link.mtu !== config.mtu)
    throw broken(`${link.name} has MTU ${link.mtu}, not ${config.mtu}`);
}

/** STATUS: without its master no container can be attached. What is in containers is not known beforehand. */
export async function checkMasterStatus(config: MasterConfig, host: Rtnetlink): Promise<void> {
  if (config.linkInContainer) return;
  try {
    await findMaster(config, { host, pod: host });
  } catch (error) {
    if (error instanceof CniError) throw new CniError(CNI_ERROR.notAvailable, error.message, { cause: error });
    throw error;
  }
}

/** The one link of the plugin before in the chain. @throws CniError 7 when there are more, or none. */
export function masterOfChain({ interfaces }: CniResult): string {
  const [only, ...others] = interfaces;
  if (only && others.length === 0) return only.name;
  throw new CniError(
    CNI_ERROR.invalidNetworkConfig,
    'chained master failure. PrevResult lacks a single named interface',
    {
      details: `it has ${interfaces.length}; name one in master`,
    },
  );
}

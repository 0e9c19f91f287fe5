import { openRtnetlink, type Rtnetlink } from '../../../src/linux/netlink/rtnetlink.ts';
import { netnsExists } from '../../../src/linux/netns.ts';
import type { ClientLink } from './exchange.ts';

const ETHERNET_ADDRESS_BYTES = 6;

/** The link as it is now; undefined when it, or its namespace, is gone. @throws for a link without an Ethernet address. */
export async function findClientLink(netns: string, name: string): Promise<ClientLink | undefined> {
  const link = await within(netns, (route) => route.getLink(name));
  if (!link) return undefined;
  const hardwareAddress = Uint8Array.from(Buffer.from((link.mac ?? '').replaceAll(':', ''), 'hex'));
  if (hardwareAddress.length !== ETHERNET_ADDRESS_BYTES)
    throw new Error(`dhcp: ${name} of ${netns} has no Ethernet address to ask for a lease with`);
  return { netns, index: link.index, name, hardwareAddress, sharesHardwareAddress: link.kind === 'ipvlan' };
}

/** Nothing is sent or received over a link that is down. */
export async function ensureUp(netns: string, { index }: ClientLink): Promise<void> {
  await within(netns, (route) => route.setLink(index, { up: true }));
}

/** An address that is no longer leased must not be used: another machine may have it. Idempotent. */
export async function takeDown(netns: string, name: string): Promise<void> {
  await within(netns, async (route) => {
    if (await route.getLink(name)) await route.setLink(name, { up: false });
  });
}

async function within<T>(netns: string, work: (route: Rtnetlink) => Promise<T>): Promise<T | undefined> {
  if (!netnsExists(netns)) return undefined;
  const route = openRtnetlink(netns);
  try {
    return await work(route);
  } finally {
    route.close();
  }
}

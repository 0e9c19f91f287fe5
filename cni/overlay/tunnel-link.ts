import { parsePrefix } from '../../src/linux/ip.ts';
import type { Rtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { writeSysctl } from '../../src/linux/sysctl.ts';

/** By it an overlay's link is known as ours: flanneld gives its own the same names. */
export const OVERLAY_ALIAS = 'berth overlay';

/**
 * Gives a tunnel's link the one address of its family and takes away others, which were of an earlier pod CIDR. The kernel's own link-local one
 * stays.
 */
export async function ensureTunnelAddress(netlink: Rtnetlink, linkIndex: number, address: string): Promise<void> {
  const { family } = parsePrefix(address);
  const addresses = await netlink.listAddresses({ linkIndex, family });
  for (const one of addresses)
    if (one.scope === 'global' && one.address !== address)
      await netlink.deleteAddress({ linkIndex, address: one.address });
  if (addresses.some((one) => one.address === address)) return;
  await netlink.addAddress({ linkIndex, address });
}

/**
 * Router advertisements of the underlay are not for a tunnel's link. And it takes what comes by another way than the answer would go (a peer
 * with DirectRouting, ours without): the kernel's greater value of `all` and the link's own counts, so that 2 makes a strict 1 loose.
 */
export function setTunnelSysctls(name: string, netns: string | undefined): void {
  for (const [key, value] of [
    [`net/ipv6/conf/${name}/accept_ra`, '0'],
    [`net/ipv4/conf/${name}/rp_filter`, '2'],
  ] as const) {
    try {
      writeSysctl(key, value, netns === undefined ? {} : { netns });
    } catch (error) {
      // Without IPv6 there is no such key.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
}

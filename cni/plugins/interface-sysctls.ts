import { writeSysctl } from '../../src/linux/sysctl.ts';

/** Keys that a kernel without the address family has not are passed over. */
export function writeSysctlIfThere(key: string, value: string, netns: string | undefined): void {
  try {
    writeSysctl(key, value, { netns });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

/** What a neighbour says of itself as a router gives this interface neither addresses nor routes (CVE-2020-10749). */
export function refuseRouterAdvertisements(ifname: string, netns: string | undefined): void {
  writeSysctlIfThere(`net/ipv6/conf/${ifname}/accept_ra`, '0', netns);
}

/** The host passes packets on between links; of the families that these addresses are of. */
export function enableForwarding(addresses: readonly string[], netns: string | undefined): void {
  if (addresses.some((address) => !address.includes(':'))) writeSysctl('net/ipv4/ip_forward', '1', { netns });
  if (addresses.some((address) => address.includes(':'))) writeSysctl('net/ipv6/conf/all/forwarding', '1', { netns });
}

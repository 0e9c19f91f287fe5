import type { Rtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { ExplainedError } from '../../src/runtime/explained-error.ts';
import type { SelfNode } from './backend.ts';

/**
 * The source of a tunnel's outer packets: the public address, or behind a NAT (`--public-ip`) the uplink's own.
 * @throws ExplainedError when there is none of the family.
 */
export async function findUnderlayAddress(
  netlink: Pick<Rtnetlink, 'listAddresses'>,
  { publicIps, uplink }: Pick<SelfNode, 'publicIps' | 'uplink'>,
  family: 4 | 6,
): Promise<string> {
  const publicIp = publicIps[family];
  const addresses = (await netlink.listAddresses({ family })).map((one) => ({
    ...one,
    ip: one.address.split('/')[0]!,
  }));
  if (publicIp !== undefined && addresses.some(({ ip }) => ip === publicIp)) return publicIp;
  const own = addresses.find(({ linkIndex, scope }) => linkIndex === uplink.index && scope === 'global');
  if (own) return own.ip;
  throw new ExplainedError(
    `overlay: ${publicIp} is no address of this node, and ${uplink.name} has no IPv${family} address: give --iface or --public-ip`,
  );
}

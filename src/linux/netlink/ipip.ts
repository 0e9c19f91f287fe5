import { formatIp, parseIp } from '../ip.ts';
import { type Attribute, bytes, u8 } from './attributes.ts';

/** IFLA_IPTUN_* of linux/if_tunnel.h. */
const IFLA_IPTUN_LOCAL = 2;
const IFLA_IPTUN_REMOTE = 3;
const IFLA_IPTUN_PMTUDISC = 10;

/** An IPIP device: IPv4 in IPv4. Without a remote end each packet goes to the gateway of its route. */
export interface IpipData {
  /** The outer packets' source. */
  local?: string;
  remote?: string;
}

export function encodeIpip({ local, remote }: IpipData): Attribute[] {
  return [
    ...(local === undefined ? [] : [bytes(IFLA_IPTUN_LOCAL, parseIp(local))]),
    ...(remote === undefined ? [] : [bytes(IFLA_IPTUN_REMOTE, parseIp(remote))]),
    // Too large a packet is told to its sender, not cut in pieces on the way.
    u8(IFLA_IPTUN_PMTUDISC, 1),
  ];
}

/** Reads `Link.data` of a link of kind `ipip`. */
export function decodeIpip(data: ReadonlyMap<number, Buffer>): IpipData {
  const ip = (type: number) => {
    const found = data.get(type);
    return found?.some((byte) => byte !== 0) ? formatIp(found) : undefined;
  };
  return { local: ip(IFLA_IPTUN_LOCAL), remote: ip(IFLA_IPTUN_REMOTE) };
}

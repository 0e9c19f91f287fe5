import { ROUTE_PROTOCOL } from '../../cni/node/route-protocol.ts';
import { formatPrefix, type IpPrefix, networkOf, parsePrefix, prefixesOverlap } from '../../src/linux/ip.ts';
import { openRtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import { cidrsOf } from '../cluster/addresses.ts';
import { SWITCH_UPLINK } from '../nodes/switch.ts';
import { UserError } from '../output/failure.ts';
import type { Settings } from '../settings.ts';

type Flag = '--pod-cidr' | '--service-cidr' | '--nodes-network';
type GivenCidr = readonly [flag: Flag, cidr: string];

/** The cluster's ranges make sense, and nothing of the host's has addresses in them. */
export async function checkCidrs(settings: Settings): Promise<void> {
  const given = parseRanges(settings);
  const ownProtocols: number[] = Object.values(ROUTE_PROTOCOL);
  const netlink = openRtnetlink();
  try {
    const links = new Map((await netlink.listLinks()).map((link) => [link.index, link.name]));
    for (const route of await netlink.listRoutes({ table: 254 })) {
      const dev = links.get(route.linkIndex ?? 0);
      // What an earlier run of ours left (it may have been killed) is no conflict: the pod bridge, our own routes, and those without a device.
      if (
        parsePrefix(route.destination).prefixLength === 0 ||
        dev === settings.bridge ||
        dev === SWITCH_UPLINK ||
        dev === undefined ||
        ownProtocols.includes(route.protocol)
      )
        continue;
      const clash = given.find(([, cidr]) => overlap(cidr, route.destination));
      if (clash)
        throw new UserError(
          `${clash[0]} ${clash[1]} overlaps the host's route ${route.destination} dev ${dev}: choose another range with ${clash[0]}`,
        );
    }
  } finally {
    netlink.close();
  }
}

/** Pure. Pods and Services have a range each, or one of each address family. @throws UserError */
export function parseRanges({
  podCidr,
  serviceCidr,
  nodesNetwork,
}: Pick<Settings, 'podCidr' | 'serviceCidr' | 'nodesNetwork'>): GivenCidr[] {
  const ranges = (flag: Flag, text: string) => cidrsOf(text).map((cidr): GivenCidr => [flag, cidr]);
  const pods = ranges('--pod-cidr', podCidr);
  const services = ranges('--service-cidr', serviceCidr);
  const given = [...pods, ...services, ...ranges('--nodes-network', nodesNetwork)];
  for (const [flag, cidr] of given) checkCidr(flag, cidr);
  for (const [flag, text, list] of [
    ['--pod-cidr', podCidr, pods],
    ['--service-cidr', serviceCidr, services],
  ] as const) {
    const families = list.map(([, cidr]) => parsePrefix(cidr).family);
    if (new Set(families).size < families.length)
      throw new UserError(`${flag} ${text}: give one range, or one of each address family (10.0.0.0/16,fd00::/56)`);
    if (families[0] !== 4)
      throw new UserError(
        `${flag} ${text}: the first range must be IPv4, since the node's own address is; IPv6 may be the second`,
      );
  }
  if (services.length > pods.length)
    throw new UserError(`--service-cidr ${serviceCidr}: give --pod-cidr an IPv6 range too; no pod could answer there`);
  for (const [index, [flag, cidr]] of given.entries())
    for (const [otherFlag, other] of given.slice(index + 1))
      if (overlap(cidr, other))
        throw new UserError(`${flag} ${cidr} and ${otherFlag} ${other} overlap: choose two that don't`);
  return given;
}

const overlap = (one: string, other: string) => prefixesOverlap(parsePrefix(one), parsePrefix(other));

/** Shortest and longest prefixes. A node's share of the pods' IPv6 range is a /64. */
const CIDR_LENGTHS: Record<Flag, Partial<Record<4 | 6, readonly [least: number, most: number]>>> = {
  '--pod-cidr': { 4: [8, 24], 6: [48, 64] },
  '--service-cidr': { 4: [12, 24], 6: [64, 120] },
  '--nodes-network': { 4: [16, 29] },
};

function checkCidr(flag: Flag, cidr: string): void {
  let prefix: IpPrefix;
  try {
    prefix = parsePrefix(cidr);
  } catch (error) {
    throw new UserError(`${flag}: ${(error as Error).message}; write it like 10.244.0.0/16`);
  }
  const limits = CIDR_LENGTHS[flag][prefix.family];
  if (!limits) throw new UserError(`${flag} ${cidr}: only IPv4 ranges are supported for now`);
  if (formatPrefix(networkOf(prefix)) !== formatPrefix(prefix))
    throw new UserError(`${flag} ${cidr} has bits beyond its length: did you mean ${formatPrefix(networkOf(prefix))}?`);
  const [least, most] = limits;
  if (prefix.prefixLength < least || prefix.prefixLength > most)
    throw new UserError(`${flag} ${cidr}: the length must be between /${least} and /${most}`);
}

/** Which link, and which addresses on it, lead to the other nodes; chosen as flanneld chooses. */
import { formatIp, formatPrefix, ipFamily, networkOf, parseIp, parsePrefix } from '../../src/linux/ip.ts';
import type { Address } from '../../src/linux/netlink/addresses.ts';
import type { Link } from '../../src/linux/netlink/links.ts';
import type { Route } from '../../src/linux/netlink/routes.ts';
import { ExplainedError } from '../../src/runtime/explained-error.ts';
import type { PerFamily } from './backend.ts';

export interface UplinkChoice {
  /** Names or addresses of links; the first that is there. */
  ifaces: readonly string[];
  /** Of addresses first, then of names; the first expression that matches. */
  ifaceRegexes: readonly RegExp[];
  /** The address of a machine that the link leads to. */
  ifaceCanReach?: string;
  /** What other nodes are told instead of the link's addresses (behind NAT). */
  publicIps: PerFamily<string>;
  /** The node's addresses: where nothing else says a link, and there is no default route. */
  nodeIps: readonly string[];
  /** `nodeIps` before the default route: the node was told its addresses. */
  preferNodeIps: boolean;
}

export interface Uplink {
  name: string;
  index: number;
  mtu: number;
  /** On the link. */
  addresses: PerFamily<string>;
  /** For the other nodes. */
  publicIps: PerFamily<string>;
  /** The link's subnets, in canonical text. */
  subnets: string[];
}

export interface HostLinks {
  links: readonly Link[];
  addresses: readonly Address[];
  /** The main table's. */
  routes: readonly Route[];
}

const MAIN_TABLE = 254;
/** Of IPv6: another one tomorrow (RFC 8981). */
const IFA_F_TEMPORARY = 0x01;
const IFA_F_DADFAILED = 0x08;
const IFA_F_DEPRECATED = 0x20;
const IFA_F_TENTATIVE = 0x40;

/**
 * Pure.
 * @param current what was chosen before. It is kept as long as it works where nobody named another: a VPN that takes the default route, or a second
 * address, must not move a node to where the others can't reach it.
 * @throws ExplainedError naming what was asked for, what there is, and the flag that helps.
 */
export function computeUplink(
  host: HostLinks,
  choice: UplinkChoice,
  families: readonly (4 | 6)[],
  current?: Uplink,
): Uplink {
  const found = findLink(host, choice, families, current);
  const { link } = found;
  const own = host.addresses.filter(({ linkIndex }) => linkIndex === link.index);
  const addresses: PerFamily<string> = {};
  for (const family of families) {
    const preferred = found.address && ipFamily(found.address) === family ? found.address : undefined;
    const isThere = (ip: string) => ipFamily(ip) === family && own.some(({ address }) => isAt(address, ip));
    const known = choice.nodeIps.find(isThere);
    const earlier = [current?.addresses[family]].find((one) => one !== undefined && isThere(one));
    const ip = preferred ?? (choice.preferNodeIps ? known : undefined) ?? earlier ?? known ?? firstAddress(own, family);
    if (ip === undefined)
      throw new ExplainedError(
        `link ${link.name} has no IPv${family} address: name another with --iface, or give it one (${describe(host)})`,
      );
    addresses[family] = ip;
  }
  const subnets = own.map(({ address }) => formatPrefix(networkOf(parsePrefix(address))));
  return {
    name: link.name,
    index: link.index,
    mtu: link.mtu,
    addresses,
    publicIps: { ...addresses, ...pick(choice.publicIps, families) },
    subnets: [...new Set(subnets.filter((subnet) => !isHostPrefix(subnet) && !subnet.startsWith('fe80:')))],
  };
}

function findLink(
  host: HostLinks,
  choice: UplinkChoice,
  families: readonly (4 | 6)[],
  current: Uplink | undefined,
): { link: Link; address?: string } {
  for (const iface of choice.ifaces) {
    const found = isIpText(iface) ? linkWith(host, iface) : byName(host, iface);
    if (found) return found;
  }
  for (const regex of choice.ifaceRegexes) {
    const found = linkMatching(host, regex);
    if (found) return found;
  }
  const asked = [
    ...choice.ifaces.map((one) => `--iface ${one}`),
    ...choice.ifaceRegexes.map((one) => `--iface-regex ${one.source}`),
  ];
  if (asked.length > 0)
    throw new ExplainedError(`${asked.join(', ')}: this host has no such link or address (${describe(host)})`);
  if (choice.ifaceCanReach !== undefined) {
    const link = linkTowards(host, choice.ifaceCanReach);
    if (link) return { link };
    throw new ExplainedError(`--iface-can-reach ${choice.ifaceCanReach}: no route leads there (${describe(host)})`);
  }
  const byNodeIp = () => choice.nodeIps.map((ip) => linkWith(host, ip)).find((found) => found !== undefined);
  const byDefault = () => {
    const link = linkTowards(host, families.includes(4) ? '0.0.0.0' : '::', true);
    return link && { link };
  };
  const kept = () => current && stillWorking(host, current);
  // A first cable that is in again, after a time on the second.
  const byDefaultOfNode = () => {
    const found = byDefault();
    return found && choice.nodeIps.some((ip) => linkWith(host, ip)?.link === found.link) ? found : undefined;
  };
  const found = choice.preferNodeIps
    ? (byNodeIp() ?? kept() ?? byDefault())
    : (byDefaultOfNode() ?? kept() ?? byDefault() ?? byNodeIp());
  if (found) return found;
  throw new ExplainedError(
    `there is no default route, and no link has an address of this node${choice.nodeIps.length ? ` (${choice.nodeIps.join(', ')})` : ''}: name the link to the other nodes with --iface (${describe(host)})`,
  );
}

function stillWorking({ links, addresses }: HostLinks, { index, addresses: had }: Uplink): { link: Link } | undefined {
  const link = links.find((one) => one.index === index && one.up && one.running);
  const own = addresses.filter(({ linkIndex }) => linkIndex === index);
  const hasAll = Object.values(had).every((ip) => own.some(({ address }) => isAt(address, ip)));
  return link && hasAll ? { link } : undefined;
}

function byName({ links }: HostLinks, name: string): { link: Link } | undefined {
  const link = links.find((one) => one.name === name);
  return link && { link };
}

function linkWith({ links, addresses }: HostLinks, ip: string): { link: Link; address: string } | undefined {
  const canonical = formatIp(parseIp(ip));
  const at = addresses.find(({ address }) => isAt(address, canonical));
  const link = at && links.find(({ index }) => index === at.linkIndex);
  return link && { link, address: canonical };
}

function linkMatching({ links, addresses }: HostLinks, regex: RegExp): { link: Link; address?: string } | undefined {
  for (const { address, linkIndex } of addresses) {
    const ip = address.split('/')[0]!;
    const link = regex.test(ip) ? links.find(({ index }) => index === linkIndex) : undefined;
    if (link) return { link, address: ip };
  }
  const link = links.find(({ name }) => regex.test(name));
  return link && { link };
}

/** The link of the most specific route; with `defaultOnly` that of the default route with the best metric. */
function linkTowards({ links, routes }: HostLinks, ip: string, defaultOnly = false): Link | undefined {
  const address = parseIp(ip);
  const family = ipFamily(address);
  const bits = (length: number, of: Uint8Array) => networkOf({ family, address: of, prefixLength: length });
  const ways = routes
    .filter((route) => route.table === MAIN_TABLE && route.type === 'unicast' && route.family === family)
    .filter((route) => route.linkIndex !== undefined)
    .map((route) => ({ route, prefix: parsePrefix(route.destination) }))
    .filter(({ prefix }) => !defaultOnly || prefix.prefixLength === 0)
    .filter(({ prefix }) => formatPrefix(bits(prefix.prefixLength, address)) === formatPrefix(networkOf(prefix)))
    .toSorted(
      (one, other) => other.prefix.prefixLength - one.prefix.prefixLength || one.route.metric - other.route.metric,
    );
  return links.find(({ index }) => index === ways[0]?.route.linkIndex);
}

function firstAddress(own: readonly Address[], family: 4 | 6): string | undefined {
  const passing = IFA_F_TENTATIVE | IFA_F_DEPRECATED | (family === 6 ? IFA_F_TEMPORARY | IFA_F_DADFAILED : 0);
  const usable = own.filter(
    ({ address, flags }) => ipFamily(address.split('/')[0]!) === family && (flags & passing) === 0,
  );
  const best = usable.find(({ scope }) => scope === 'global') ?? (family === 4 ? usable[0] : undefined);
  return best?.address.split('/')[0];
}

const isAt = (address: string, ip: string) => address.split('/')[0] === ip;

function isIpText(text: string): boolean {
  try {
    parseIp(text);
    return true;
  } catch {
    return false;
  }
}

function isHostPrefix(subnet: string): boolean {
  const { family, prefixLength } = parsePrefix(subnet);
  return prefixLength === (family === 4 ? 32 : 128);
}

function pick(values: PerFamily<string>, families: readonly (4 | 6)[]): PerFamily<string> {
  return Object.fromEntries(families.filter((family) => values[family]).map((family) => [family, values[family]]));
}

function describe({ links, addresses }: HostLinks): string {
  const one = ({ name, index }: Link) => {
    const own = addresses.filter(({ linkIndex }) => linkIndex === index).map(({ address }) => address);
    return own.length > 0 ? `${name}: ${own.join(' ')}` : name;
  };
  return `links: ${
    links
      .filter(({ loopback }) => !loopback)
      .slice(0, 10)
      .map(one)
      .join('; ') || 'none'
  }`;
}

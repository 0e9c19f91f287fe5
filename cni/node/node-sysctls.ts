import { readdirSync } from 'node:fs';
import { inNetns } from '../../src/linux/netns.ts';
import { readSysctl, writeSysctl } from '../../src/linux/sysctl.ts';
import type { HostRecord } from './host-record.ts';

const IP_FORWARD = 'net.ipv4.ip_forward';
const IP6_FORWARD = 'net.ipv6.conf.all.forwarding';

/** What pods need of the host's kernel. */
const NODE_SYSCTLS: Readonly<Record<4 | 6, Readonly<Record<string, string>>>> = {
  4: {
    [IP_FORWARD]: '1',
    // Traffic between two pods of one bridge must pass the service rules too (a pod that reaches its neighbour by ClusterIP).
    'net.bridge.bridge-nf-call-iptables': '1',
  },
  6: { [IP6_FORWARD]: '1', 'net.bridge.bridge-nf-call-ip6tables': '1' },
};

/**
 * The keys whose value differs, with the values to write, in order. A host that forwards IPv6 no longer heeds router advertisements,
 * unless told so by 2 (ip-sysctl, accept_ra): one that got its default route from them would lose it within the half hour.
 */
export function readWrongSysctls(families: readonly (4 | 6)[], netns?: string): Map<string, string> {
  const wanted = families.flatMap((family) => Object.entries(NODE_SYSCTLS[family]));
  const advertised = families.includes(6)
    ? interfacesOf('ipv6', netns)
        .map((name) => `net/ipv6/conf/${name}/accept_ra`)
        .filter((key) => readSysctl(key, { netns }) === '1' && heedsRouters(key, netns))
        .map((key) => [key, '2'] as const)
    : [];
  const wrong = wanted.filter(([key, value]) => readSysctl(key, { netns }) !== value);
  return new Map([...(wrong.some(([key]) => key === IP6_FORWARD) ? advertised : []), ...wrong]);
}

/** While a link does not forward, 1 means yes; the name patterns `all` and `default` are no links. */
function heedsRouters(key: string, netns?: string): boolean {
  const folder = key.slice(0, key.lastIndexOf('/'));
  if (/\/(all|default|lo)$/.test(folder)) return false;
  return readSysctl(`${folder}/forwarding`, { netns }) === '0';
}

/**
 * Every value that writing these keys will change, as it is now. The kernel couples some: ip_forward also sets `forwarding` of
 * every interface and, for hosts, `accept_redirects` (ip-sysctl, inet_forward_change).
 */
export function readAffectedSysctls(keys: Iterable<string>, netns?: string): Map<string, string> {
  const affected = [...keys].flatMap((key) => [key, ...coupledKeys(key, netns)]);
  const values = affected.map((key) => [key, readSysctl(key, { netns })] as const);
  return new Map(values.filter((entry): entry is [string, string] => entry[1] !== undefined));
}

function coupledKeys(key: string, netns?: string): string[] {
  const forwarding = (version: 'ipv4' | 'ipv6') =>
    interfacesOf(version, netns).map((name) => `net/${version}/conf/${name}/forwarding`);
  if (key === IP_FORWARD) return ['net/ipv4/conf/all/accept_redirects', ...forwarding('ipv4')];
  return key === IP6_FORWARD ? forwarding('ipv6') : [];
}

function interfacesOf(version: 'ipv4' | 'ipv6', netns?: string): string[] {
  return inNetns<string[]>(netns, () => readdirSync(`/proc/sys/net/${version}/conf`));
}

/** Adds values to the record, keeping the oldest `previous` of each key. */
export function recordSysctls(
  record: HostRecord,
  before: ReadonlyMap<string, string>,
  after: ReadonlyMap<string, string>,
): HostRecord {
  const sysctls = { ...record.sysctls };
  for (const [key, value] of before)
    sysctls[key] = { previous: sysctls[key]?.previous ?? value, written: after.get(key) ?? value };
  return { ...record, sysctls };
}

/** Puts back what still has the value that we gave it. What somebody set since, or an interface that is gone, is left alone. */
export function restoreSysctls(sysctls: HostRecord['sysctls'], netns?: string): void {
  // These first: they overwrite the others.
  const isFirst = (key: string) => key === IP_FORWARD || key === IP6_FORWARD;
  const entries = Object.entries(sysctls).toSorted(([one], [other]) => Number(isFirst(other)) - Number(isFirst(one)));
  const untouched = entries.filter(([key, { written }]) => readSysctl(key, { netns }) === written);
  for (const [key, { previous }] of untouched)
    if (readSysctl(key, { netns }) !== undefined) writeSysctl(key, previous, { netns });
}

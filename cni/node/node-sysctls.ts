import { readdirSync } from 'node:fs';
import { inNetns } from '../../src/linux/netns.ts';
import { readSysctl, writeSysctl } from '../../src/linux/sysctl.ts';
import type { HostRecord } from './host-record.ts';

const IP_FORWARD = 'net.ipv4.ip_forward';

/** What pods need of the host's kernel. */
export const NODE_SYSCTLS: Readonly<Record<string, string>> = {
  [IP_FORWARD]: '1',
  // Traffic between two pods of one bridge must pass the service rules too (a pod that reaches its neighbour by ClusterIP).
  'net.bridge.bridge-nf-call-iptables': '1',
};

/** The keys whose value differs, with the values to write. */
export function readWrongSysctls(netns?: string): Map<string, string> {
  return new Map(Object.entries(NODE_SYSCTLS).filter(([key, value]) => readSysctl(key, { netns }) !== value));
}

/**
 * Every value that writing these keys will change, as it is now. The kernel couples some: ip_forward also sets `forwarding` of
 * every interface and, for hosts, `accept_redirects` (ip-sysctl, inet_forward_change).
 */
export function readAffectedSysctls(keys: Iterable<string>, netns?: string): Map<string, string> {
  const affected = [...keys].flatMap((key) => (key === IP_FORWARD ? [key, ...forwardingKeys(netns)] : [key]));
  const values = affected.map((key) => [key, readSysctl(key, { netns })] as const);
  return new Map(values.filter((entry): entry is [string, string] => entry[1] !== undefined));
}

function forwardingKeys(netns?: string): string[] {
  const interfaces = inNetns<string[]>(netns, () => readdirSync('/proc/sys/net/ipv4/conf'));
  return ['net/ipv4/conf/all/accept_redirects', ...interfaces.map((name) => `net/ipv4/conf/${name}/forwarding`)];
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
  // ip_forward first: it overwrites the others.
  const entries = Object.entries(sysctls).toSorted(
    ([one], [other]) => Number(other === IP_FORWARD) - Number(one === IP_FORWARD),
  );
  const untouched = entries.filter(([key, { written }]) => readSysctl(key, { netns }) === written);
  for (const [key, { previous }] of untouched)
    if (readSysctl(key, { netns }) !== undefined) writeSysctl(key, previous, { netns });
}

import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../../src/linux/exec.ts';
import { readMounts } from '../../src/linux/mounts.ts';
import { inNetns } from '../../src/linux/netns.ts';

/**
 * What a host looks like to somebody who compares before and after: sorted or ordered lines by subject, counters, lifetimes and
 * timestamps stripped. Two snapshots of an unchanged host are equal.
 */
export type HostSnapshot = Record<SnapshotPart, string[]>;

const PARTS = [
  'iptables',
  'ip6tables',
  'nftables',
  'links',
  'addresses',
  'routes',
  'rules',
  'neighbours',
  'sysctls',
  'mounts',
  'cgroups',
] as const;
export type SnapshotPart = (typeof PARTS)[number];

export interface SnapshotOptions {
  /** Network namespace of the host; then mounts, cgroups and sysctls outside of `net` are left out, for they aren't part of it. */
  netns?: string;
}

/** Reads all of it; some 200 ms. Needs root. */
export async function snapshotHost({ netns }: SnapshotOptions = {}): Promise<HostSnapshot> {
  const read = async (program: string, args: string[]) => (await run(program, args, { netns })).stdout;
  const [iptables, ip6tables, nftables, links, addresses, routes4, routes6, rules4, rules6, neighbours] =
    await Promise.all([
      read('iptables-save', []),
      read('ip6tables-save', []),
      read('nft', ['--stateless', 'list', 'ruleset']),
      read('ip', ['-j', '-d', 'link']),
      read('ip', ['-j', 'addr']),
      read('ip', ['-N', '-4', 'route', 'show', 'table', 'all']),
      read('ip', ['-N', '-6', 'route', 'show', 'table', 'all']),
      read('ip', ['-N', '-4', 'rule']),
      read('ip', ['-N', '-6', 'rule']),
      read('ip', ['-N', 'neigh', 'show', 'nud', 'permanent']),
    ]);
  return {
    iptables: stripIptables(iptables),
    ip6tables: stripIptables(ip6tables),
    nftables: lines(nftables).map((line) => line.replace(/ # handle \d+$/, '')),
    links: describeLinks(links),
    addresses: describeAddresses(addresses),
    routes: [...lines(routes4), ...lines(routes6)]
      .map((line) => line.replace(/ expires \d+sec/, '').trim())
      // Come by themselves once a fresh link-local address has been found unique, seconds after the link.
      .filter((line) => !/ table 255 proto 2 /.test(line) || !/\bfe80::/.test(line))
      .toSorted(),
    rules: [...lines(rules4), ...lines(rules6)],
    neighbours: lines(neighbours).toSorted(),
    sysctls: readSysctls(netns),
    mounts: netns ? [] : describeMounts(),
    cgroups: netns ? [] : listCgroups(),
  };
}

/** The differences, one line each: `links: - cni0 …` is gone, `links: + …` is new. Empty when both are equal. */
export function diffSnapshots(before: HostSnapshot, after: HostSnapshot): string[] {
  return PARTS.flatMap((part) => {
    const differences = diffLines(before[part], after[part]).map((line) => `${part}: ${line}`);
    const reordered = differences.length === 0 && before[part].join('\n') !== after[part].join('\n');
    return reordered ? [`${part}: the same lines in another order`] : differences;
  });
}

function diffLines(before: string[], after: string[]): string[] {
  const count = new Map<string, number>();
  for (const line of after) count.set(line, (count.get(line) ?? 0) + 1);
  for (const line of before) count.set(line, (count.get(line) ?? 0) - 1);
  return [...count].flatMap(([line, surplus]) => (surplus === 0 ? [] : [`${surplus > 0 ? '+' : '-'} ${line}`]));
}

function lines(text: string): string[] {
  return text.split('\n').filter((line) => line.trim() !== '');
}

function stripIptables(text: string): string[] {
  return lines(text)
    .filter((line) => !line.startsWith('#'))
    .map((line) => line.replace(/\[\d+:\d+\]/, '').trim());
}

interface ShownLink {
  ifname: string;
  mtu: number;
  address?: string;
  master?: string;
  ifalias?: string;
  flags: string[];
  linkinfo?: { info_kind?: string };
}

function describeLinks(json: string): string[] {
  return (JSON.parse(json || '[]') as ShownLink[])
    .map(({ ifname, mtu, address, master, ifalias, flags, linkinfo }) =>
      [
        ifname,
        linkinfo?.info_kind ?? 'device',
        `mtu ${mtu}`,
        address,
        flags.includes('UP') ? 'up' : 'down',
        flags.includes('PROMISC') ? 'promiscuous' : '',
        master && `master ${master}`,
        ifalias && `alias ${ifalias}`,
      ]
        .filter(Boolean)
        .join(' '),
    )
    .toSorted();
}

interface ShownAddress {
  ifname: string;
  addr_info: { local: string; prefixlen: number; scope: string; label?: string }[];
}

function describeAddresses(json: string): string[] {
  return (JSON.parse(json || '[]') as ShownAddress[])
    .flatMap(({ ifname, addr_info }) =>
      addr_info.map(({ local, prefixlen, scope, label }) => [ifname, `${local}/${prefixlen}`, scope, label].join(' ')),
    )
    .toSorted();
}

/** Keys that change by themselves, or reading which does something. */
const VOLATILE_SYSCTLS = [
  /^kernel\/(random|ns_last_pid|pty\/nr|sched_|hung_task_detect_count|tainted|perf_event_max_sample_rate)/,
  /^fs\/(inode|dentry-state|file-nr|aio-nr|quota|dcache)/,
  /^fs\/(binfmt_misc|epoll|xfs|nfs)/,
  /^net\/netfilter\/nf_conntrack_count$/,
  /^net\/ipv[46]\/(route\/)?flush$/,
  /^net\/ipv6\/conf\/[^/]+\/stable_secret$/,
  /^net\/ipv4\/(tcp_fastopen_key|tcp_probe_)/,
  /^(vm|dev)\//,
];

function readSysctls(netns: string | undefined): string[] {
  return inNetns<string[]>(netns, () => {
    const found: string[] = [];
    const walk = (relative: string) => {
      for (const entry of readdirSync(join('/proc/sys', relative), { withFileTypes: true })) {
        const path = relative ? `${relative}/${entry.name}` : entry.name;
        if (VOLATILE_SYSCTLS.some((pattern) => pattern.test(path))) continue;
        if (entry.isDirectory()) walk(path);
        else found.push(`${path} = ${readQuietly(join('/proc/sys', path))}`);
      }
    };
    walk(netns ? 'net' : '');
    return found.toSorted();
  });
}

/** Write-only keys and those that need more rights read as empty. */
function readQuietly(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim().replaceAll(/\s+/g, ' ');
  } catch {
    return '';
  }
}

function describeMounts(): string[] {
  return readMounts()
    .map(({ target, type, source, root, options }) => `${target} ${type} ${source} ${root} ${options.join(',')}`)
    .toSorted();
}

/** Every cgroup directory of every mounted hierarchy. */
function listCgroups(): string[] {
  const roots = readMounts().filter(({ type }) => type === 'cgroup' || type === 'cgroup2');
  return roots.flatMap(({ target }) => directoriesBelow(target)).toSorted();
}

function directoriesBelow(path: string): string[] {
  let entries: string[];
  try {
    entries = readdirSync(path, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => join(path, entry.name));
  } catch {
    // It went away while we looked.
    return [];
  }
  return statSync(path, { throwIfNoEntry: false }) ? [path, ...entries.flatMap(directoriesBelow)] : [];
}

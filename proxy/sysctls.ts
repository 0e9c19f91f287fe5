import { availableParallelism } from 'node:os';
import type { ObjectReference } from '../src/kube/types.ts';
import type { Logger } from '../src/runtime/log.ts';
import type { KubeProxyConfiguration } from './config/kube-proxy-configuration.ts';

/** Kernel settings as the proxy needs them. Whoever connects this may record old values, to put them back in the end. */
export interface SysctlPort {
  /** The value; undefined when the kernel has no such key. */
  read(key: string): string | undefined;
  write(key: string, value: string): void;
}

export interface SysctlSetting {
  key: string;
  value: number;
  /** Only ever raised: another program's larger table is fine too. */
  atLeast?: boolean;
}

/** Lets the kernel route packets for 127/8, for NodePorts on localhost. To be set only once KUBE-FIREWALL guards it. */
export const ROUTE_LOCALNET: SysctlSetting = { key: 'net.ipv4.conf.all.route_localnet', value: 1 };

/** The connection tracking settings of a configuration. 0 leaves a setting as it is. */
export function computeConntrackSysctls(
  conntrack: KubeProxyConfiguration['conntrack'],
  cores: number = availableParallelism(),
): SysctlSetting[] {
  const seconds = (ms: number) => Math.ceil(ms / 1000);
  const prefix = 'net.netfilter.nf_conntrack';
  const max = conntrack.maxPerCore === 0 ? 0 : Math.max(conntrack.maxPerCore * cores, conntrack.min);
  return [
    { key: CONNTRACK_MAX, value: max, atLeast: true },
    { key: `${prefix}_tcp_timeout_established`, value: seconds(conntrack.tcpEstablishedTimeoutMs) },
    { key: `${prefix}_tcp_timeout_close_wait`, value: seconds(conntrack.tcpCloseWaitTimeoutMs) },
    { key: `${prefix}_tcp_be_liberal`, value: conntrack.tcpBeLiberal ? 1 : 0 },
    { key: `${prefix}_udp_timeout`, value: seconds(conntrack.udpTimeoutMs) },
    { key: `${prefix}_udp_timeout_stream`, value: seconds(conntrack.udpStreamTimeoutMs) },
  ].filter(({ value }) => value > 0);
}

/** Writes what differs. A key that the kernel lacks or guards (a container's read-only /proc/sys) is reported, not fatal. */
export function ensureSysctls(
  port: SysctlPort,
  settings: readonly SysctlSetting[],
  onRefused: (key: string, error: unknown) => void,
): void {
  for (const { key, value, atLeast } of settings)
    try {
      const current = port.read(key);
      if (current === String(value) || (atLeast && Number(current) >= value)) continue;
      if (current === undefined) throw new Error('the kernel has no such setting');
      port.write(key, String(value));
    } catch (error) {
      onRefused(key, error);
    }
}

/** The size of the kernel's connection tracking hash table, a parameter of the module nf_conntrack. */
export interface ConntrackHash {
  /** Buckets; undefined when the module is not there. */
  read(): number | undefined;
  write(buckets: number): void;
}

export interface SysctlApplierOptions {
  port: SysctlPort;
  hash?: ConntrackHash;
  config: KubeProxyConfiguration;
  log: Logger;
  warn(about: ObjectReference | 'node', reason: string, message: string): void;
}

/** Applies settings again and again (modules come late, other programs write too); each refusal is told once. */
export interface SysctlApplier {
  apply(settings: readonly SysctlSetting[]): void;
  applyConntrack(): void;
}

export function createSysctlApplier({ port, hash, config, log, warn }: SysctlApplierOptions): SysctlApplier {
  const refused = new Set<string>();
  function refuse(key: string, error: unknown): void {
    if (refused.has(key)) return;
    refused.add(key);
    log.warn({ sysctl: key, err: error }, 'a kernel setting stays as it is');
    warn('node', 'KernelSettingRefused', `${key} stays as it is: ${(error as Error).message}`);
  }
  const apply = (settings: readonly SysctlSetting[]) => ensureSysctls(port, settings, refuse);
  return {
    apply,
    applyConntrack() {
      const settings = computeConntrackSysctls(config.conntrack);
      apply(settings);
      const max = settings.find(({ key }) => key === CONNTRACK_MAX)?.value;
      if (hash && max) ensureHashSize(hash, Math.floor(max / ENTRIES_A_BUCKET), refuse);
    },
  };
}

const CONNTRACK_MAX = 'net.netfilter.nf_conntrack_max';
/** The kernel's own ratio when it sizes the table itself, and kube-proxy's. */
const ENTRIES_A_BUCKET = 4;
const HASH_PARAMETER = 'nf_conntrack.hashsize';

/** With a larger limit alone the chains of each bucket would grow, and every packet's look-up with them. Only ever raised. */
function ensureHashSize(hash: ConntrackHash, buckets: number, onRefused: (key: string, error: unknown) => void): void {
  try {
    const current = hash.read();
    if (current === undefined || current >= buckets) return;
    hash.write(buckets);
  } catch (error) {
    onRefused(HASH_PARAMETER, error);
  }
}

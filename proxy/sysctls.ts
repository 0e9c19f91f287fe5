import { availableParallelism } from 'node:os';
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
    { key: `${prefix}_max`, value: max, atLeast: true },
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

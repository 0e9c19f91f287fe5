import { release } from 'node:os';
import type { IpvsTimeouts } from '../../src/netfilter/ipvs-messages.ts';
import type { KubeProxyConfiguration } from '../config/kube-proxy-configuration.ts';
import type { SysctlSetting } from '../sysctls.ts';

/** The kernel settings of mode ipvs, as kube-proxy writes them at its start. */
export function computeIpvsSysctls(
  { strictARP }: Pick<KubeProxyConfiguration['ipvs'], 'strictARP'>,
  kernelRelease: string = release(),
): SysctlSetting[] {
  return [
    // IPVS's connections are conntrack's too: rules can masquerade and accept them.
    { key: 'net.ipv4.vs.conntrack', value: 1 },
    ...(needsConnReuseMode(kernelRelease) ? [{ key: 'net.ipv4.vs.conn_reuse_mode', value: 0 }] : []),
    // What was connected to a real server that is gone learns of it with its next packet.
    { key: 'net.ipv4.vs.expire_nodest_conn', value: 1 },
    { key: 'net.ipv4.vs.expire_quiescent_template', value: 1 },
    { key: 'net.ipv4.ip_forward', value: 1 },
    // The host must not tell its neighbours that the Services' addresses are at its network card.
    ...(strictARP
      ? [
          { key: 'net.ipv4.conf.all.arp_ignore', value: 1 },
          { key: 'net.ipv4.conf.all.arp_announce', value: 2 },
        ]
      : []),
  ];
}

/** Before 5.9 a client's port that is used anew waited a second for conntrack, unless this was off; before 4.1 it was not there. */
function needsConnReuseMode(kernelRelease: string): boolean {
  const [major = 0, minor = 0] = kernelRelease.split('.').map(Number);
  const isAtLeast = (a: number, b: number) => major > a || (major === a && minor >= b);
  return isAtLeast(4, 1) && !isAtLeast(5, 9);
}

/** The configured timeouts; undefined when the kernel's stay. */
export function computeIpvsTimeouts(
  config: Pick<KubeProxyConfiguration['ipvs'], 'tcpTimeoutMs' | 'tcpFinTimeoutMs' | 'udpTimeoutMs'>,
): IpvsTimeouts | undefined {
  const seconds = (ms: number) => (ms > 0 ? Math.max(1, Math.round(ms / 1000)) : undefined);
  const timeouts = {
    tcpSeconds: seconds(config.tcpTimeoutMs),
    tcpFinSeconds: seconds(config.tcpFinTimeoutMs),
    udpSeconds: seconds(config.udpTimeoutMs),
  };
  return Object.values(timeouts).some((one) => one !== undefined) ? timeouts : undefined;
}

import type { HostAlias } from '../../src/kube/types.ts';
import type { PodHostname } from './hostname.ts';

const MANAGED_HEADER = '# Kubernetes-managed hosts file.\n';
const HOST_NETWORK_HEADER = '# Kubernetes-managed hosts file (host network).\n';
const LOCAL_LINES = [
  '127.0.0.1\tlocalhost',
  '::1\tlocalhost ip6-localhost ip6-loopback',
  'fe00::0\tip6-localnet',
  'fe00::0\tip6-mcastprefix',
  'fe00::1\tip6-allnodes',
  'fe00::2\tip6-allrouters',
];

function renderAliases(aliases: readonly HostAlias[] | undefined): string {
  if (!aliases?.length) return '';
  const lines = aliases.map(({ ip, hostnames }) => `${ip}\t${(hostnames ?? []).join('\t')}\n`);
  return `\n# Entries added by HostAliases.\n${lines.join('')}`;
}

/** /etc/hosts of a pod with its own network (sheet §9). */
export function renderHosts(name: PodHostname, podIps: readonly string[], aliases?: readonly HostAlias[]): string {
  const own = podIps.map((ip) => [ip, ...(name.fqdn ? [name.fqdn] : []), name.hostname].join('\t'));
  return `${MANAGED_HEADER}${[...LOCAL_LINES, ...own].map((line) => `${line}\n`).join('')}${renderAliases(aliases)}`;
}

/** /etc/hosts of a host-network pod: the node's own file and the aliases. */
export function renderHostNetworkHosts(nodeHosts: string, aliases?: readonly HostAlias[]): string {
  return `${HOST_NETWORK_HEADER}${nodeHosts}${renderAliases(aliases)}`;
}

import ipaddr from 'ipaddr.js';
import type { Packet, TraceHost } from '../../proxy/trace/packet.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import { isNotFound } from '../../src/kube/errors.ts';
import { pods } from '../../src/kube/resources.ts';
import type { IpFamily } from '../../src/netfilter/tables.ts';
import { UserError } from '../output/failure.ts';
import type { Origin } from './question.ts';
import type { RouteLookup } from './routes.ts';

export type Source = Pick<Packet, 'source' | 'inInterface'>;

export interface SourceContext {
  client: KubeClient;
  nodeName: string;
  family: IpFamily;
  /** Addresses of this node, the primary one first. */
  nodeIps: readonly string[];
  host: TraceHost;
  routeOf: RouteLookup;
  /** Where the packet goes: a process of the node takes loopback as its source for loopback. */
  destination: string;
}

/** The source address of a packet, and the interface by which it comes in (none for the node's own). */
export async function resolveSource(origin: Origin, context: SourceContext): Promise<Source> {
  if (origin.kind === 'node') return ownSource(context);
  if (origin.kind === 'address') return sourceAt(firstAddress(origin.address), context);
  const { namespace, name } = origin;
  const pod = await context.client.get(pods, { namespace, name }).catch((error) => {
    throw isNotFound(error)
      ? new UserError(`--from ${name}: there is no pod ${name} in namespace ${namespace}`)
      : error;
  });
  if (pod.spec.nodeName !== context.nodeName)
    throw new UserError(
      `--from ${name}: the pod runs on ${pod.spec.nodeName ?? 'no node yet'}, not on ${context.nodeName}; the rules of its own node decide, so trace there`,
    );
  if (pod.spec.hostNetwork) return ownSource(context);
  const ips = (pod.status?.podIPs ?? []).map(({ ip }) => ip);
  const ip = ips.find((one) => one?.includes(':') === (context.family === 'IPv6'));
  if (!ip) throw new UserError(`--from ${name}: the pod has no ${context.family} address yet`);
  return sourceAt(ip, context);
}

/** To an address of its own (those of kube-ipvs0 are too), the host sends from that very address. */
function ownSource({ destination, family, nodeIps, host }: SourceContext): Source {
  const isOwn = host.localAddresses.includes(destination) || ipaddr.parse(destination).range() === 'loopback';
  if (isOwn) return { source: destination };
  return { source: nodeIps[0] ?? (family === 'IPv4' ? '127.0.0.1' : '::1') };
}

/** An address of this host sends from this host; any other comes in where its answer would go out. */
function sourceAt(source: string, { host, routeOf, family, destination }: SourceContext): Source {
  if (source.includes(':') !== (family === 'IPv6'))
    throw new UserError(`--from ${source}: the destination ${destination} is of the other IP family`);
  if (host.localAddresses.includes(source)) return { source };
  return { source, inInterface: routeOf(source) ?? 'unknown' };
}

/** Of a CIDR, the first address that a host may have. */
function firstAddress(text: string): string {
  const [address, bits] = text.split('/') as [string, string | undefined];
  const ip = ipaddr.parse(address);
  const width = ip.kind() === 'ipv4' ? 32 : 128;
  if (bits === undefined || Number(bits) >= width - 1) return ip.toString();
  const network = (ip.kind() === 'ipv4' ? ipaddr.IPv4 : ipaddr.IPv6).networkAddressFromCIDR(text);
  const bytes = network.toByteArray();
  bytes[bytes.length - 1]! += 1;
  return ipaddr.fromByteArray(bytes).toString();
}

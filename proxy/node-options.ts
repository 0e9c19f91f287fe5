import type { IpFamily } from '../src/netfilter/tables.ts';
import type { KubeProxyConfiguration } from './config/kube-proxy-configuration.ts';
import { resolveLocalDetector } from './local-detector.ts';
import type { ModeName, NodeRenderOptions } from './mode.ts';
import { type NodePortTargets, readLocalInterfaces, resolveNodePortTargets } from './node-addresses.ts';
import { nodeIpsOf, type OwnNode } from './own-node.ts';
import { cidrOfFamily, isLoopback } from './state/addresses.ts';

export interface NodeOptionsInput {
  config: KubeProxyConfiguration;
  mode: ModeName;
  nodeName: string;
  ownNode: OwnNode;
  /** Of all families. */
  serviceCidrs: readonly string[];
  family: IpFamily;
  /** Path of the network namespace; the process's own unless given. */
  netns?: string;
}

/** What the rules of a family depend on beside services: configuration, the Node object, the host's addresses. */
export function computeNodeOptions(input: NodeOptionsInput): NodeRenderOptions {
  const { config, mode, nodeName, ownNode, family } = input;
  const targets = nodePortTargets(config, mode, ownNode, family, input.netns);
  // The ipvs and userspace modes read the iptables section for what they share with it, as upstream.
  const { masqueradeAll, masqueradeBit } = mode === 'nftables' ? config.nftables : config.iptables;
  return {
    node: { nodeName, zone: ownNode.zone },
    nodeIps: nodeIpsOf(config.bindAddress, ownNode, family),
    localDetector: resolveLocalDetector(config, family, ownNode.podCidrs),
    masqueradeAll,
    masqueradeMark: 2 ** masqueradeBit,
    localhostNodePorts: takesLoopback(config, mode) && targets.takesLoopback,
    nodePortAddresses: takesLoopback(config, mode)
      ? targets.addresses
      : targets.addresses?.filter((address) => !isLoopback(address)),
    conntrackTcpBeLiberal: config.conntrack.tcpBeLiberal,
    serviceCidrs: input.serviceCidrs.flatMap((cidr) => cidrOfFamily(cidr, family) ?? []),
  };
}

/** Packets to 127/8 leave the host only with route_localnet; nftables and ipvs do without it, and so without these node ports. */
function takesLoopback(config: KubeProxyConfiguration, mode: ModeName): boolean {
  return (mode === 'iptables' || mode === 'userspace') && config.iptables.localhostNodePorts;
}

/** Where health check ports of services listen; an empty address is the wildcard of every family that the kernel has. */
export function computeHealthCheckAddresses(
  config: KubeProxyConfiguration,
  mode: ModeName,
  ownNode: OwnNode,
  families: readonly IpFamily[],
  netns?: string,
): readonly string[] {
  const all = families.map((family) => nodePortTargets(config, mode, ownNode, family, netns).addresses);
  return all.includes(undefined) ? [''] : all.flatMap((addresses) => addresses ?? []);
}

/** Unless the configuration says, NodePorts answer at every address of the node; in nftables mode at the primary one, as upstream. */
function nodePortTargets(
  { bindAddress, nodePortAddresses }: KubeProxyConfiguration,
  mode: ModeName,
  ownNode: OwnNode,
  family: IpFamily,
  netns?: string,
): NodePortTargets {
  const wanted = nodePortAddresses.length === 0 && mode === 'nftables' ? ['primary'] : nodePortAddresses;
  return resolveNodePortTargets(wanted, family, nodeIpsOf(bindAddress, ownNode, family), () =>
    readLocalInterfaces(netns),
  );
}

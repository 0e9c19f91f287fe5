import type { IpFamily } from '../src/netfilter/tables.ts';
import type { KubeProxyConfiguration } from './config/kube-proxy-configuration.ts';
import { resolveLocalDetector } from './local-detector.ts';
import type { NodeRenderOptions } from './mode.ts';
import { type NodePortTargets, resolveNodePortTargets } from './node-addresses.ts';
import { nodeIpsOf, type OwnNode } from './own-node.ts';

/** What the rules of a family depend on beside services: configuration, the Node object, the host's addresses. */
export function computeNodeOptions(
  config: KubeProxyConfiguration,
  nodeName: string,
  ownNode: OwnNode,
  family: IpFamily,
): NodeRenderOptions {
  const targets = nodePortTargets(config, ownNode, family);
  return {
    node: { nodeName, zone: ownNode.zone },
    nodeIps: nodeIpsOf(config.bindAddress, ownNode, family),
    localDetector: resolveLocalDetector(config, family, ownNode.podCidrs),
    masqueradeAll: config.iptables.masqueradeAll,
    masqueradeMark: 2 ** config.iptables.masqueradeBit,
    localhostNodePorts: config.iptables.localhostNodePorts && targets.takesLoopback,
    nodePortAddresses: targets.addresses,
    conntrackTcpBeLiberal: config.conntrack.tcpBeLiberal,
    serviceCidrs: [],
  };
}

/** Where health check ports of services listen; an empty address is the wildcard of every family that the kernel has. */
export function computeHealthCheckAddresses(
  config: KubeProxyConfiguration,
  ownNode: OwnNode,
  families: readonly IpFamily[],
): readonly string[] {
  const all = families.map((family) => nodePortTargets(config, ownNode, family).addresses);
  return all.includes(undefined) ? [''] : all.flatMap((addresses) => addresses ?? []);
}

function nodePortTargets(config: KubeProxyConfiguration, ownNode: OwnNode, family: IpFamily): NodePortTargets {
  return resolveNodePortTargets(config.nodePortAddresses, family, nodeIpsOf(config.bindAddress, ownNode, family));
}

import { type LocalDetector, matchLocal } from '../local-detector.ts';
import { cidrContains } from '../state/addresses.ts';
import {
  type Endpoint,
  isExternallyAccessible,
  type ServicePort,
  usesClusterEndpoints,
  usesLocalEndpoints,
} from '../state/model.ts';
import { CHAIN, type ServicePortChains } from './names.ts';
import type { ServicePortContext, ServiceRenderOptions } from './service-rules.ts';
import { asBlock, comment, matchPort, probability, recentList } from './spelling.ts';

/** The port's own chains: external, firewall, cluster, local, then one for each endpoint. */
export function buildServiceChains(context: ServicePortContext, options: ServiceRenderOptions): [string, string[]][] {
  const { port, chains, endpoints, hasInternal, hasFirewall } = context;
  const written: [string, string[]][] = [];
  if (endpoints.hasAny && isExternallyAccessible(port))
    written.push([chains.external, externalRules(context, options.localDetector)]);
  if (hasFirewall) written.push([chains.firewall, firewallRules(port, chains, options.nodeIps)]);

  const masquerade = hasInternal ? masqueradeRules(port, options) : [];
  for (const [chain, isUsed, isInternal, targets] of [
    [chains.cluster, usesClusterEndpoints(port), !port.isInternalPolicyLocal, endpoints.cluster],
    [chains.local, usesLocalEndpoints(port), port.isInternalPolicyLocal, endpoints.local],
  ] as const)
    if (isUsed && targets.length > 0)
      written.push([chain, [...(isInternal ? masquerade : []), ...balanceRules(port, chains, targets, options)]]);

  for (const endpoint of endpoints.reachable)
    written.push([chains.endpoint(endpoint.address), endpointRules(port, chains, endpoint, options)]);
  return written;
}

/** Traffic to the cluster IP from outside the cluster's pods: its answers must come back through this node. */
function masqueradeRules(port: ServicePort, options: ServiceRenderOptions): string[] {
  const origin = options.masqueradeAll ? '' : matchLocal(options.localDetector, false);
  if (origin === undefined) return [];
  const about = comment(`${port.displayName} cluster IP`);
  return [`${matchPort(port, port.port, { destination: port.clusterIp, about, origin })} -j ${CHAIN.markMasq}`];
}

function externalRules({ port, chains, hasExternal }: ServicePortContext, detector: LocalDetector): string[] {
  const destinations = `${port.displayName} external destinations`;
  const policyChain = port.isExternalPolicyLocal ? chains.local : chains.cluster;
  const last = hasExternal ? [`-j ${policyChain}`] : [];
  // The endpoint may be on another node, whose answer must come back through here.
  if (!port.isExternalPolicyLocal)
    return [`${comment(`masquerade traffic for ${destinations}`)} -j ${CHAIN.markMasq}`, ...last];
  // Pods and the node itself are not the policy's subject: they reach all endpoints, as if they had gone out and come back in.
  const fromPods = matchLocal(detector, true);
  const fromNode = '-m addrtype --src-type LOCAL';
  return [
    ...(fromPods ? [`${fromPods} ${comment(`pod traffic for ${destinations}`)} -j ${chains.cluster}`] : []),
    `${comment(`masquerade LOCAL traffic for ${destinations}`)} ${fromNode} -j ${CHAIN.markMasq}`,
    `${comment(`route LOCAL traffic for ${destinations}`)} ${fromNode} -j ${chains.cluster}`,
    ...last,
  ];
}

function firewallRules(port: ServicePort, chains: ServicePortChains, nodeIps: readonly string[]): string[] {
  const from = (source: string) =>
    `-s ${source} ${comment(`${port.displayName} loadbalancer IP`)} -j ${chains.external}`;
  // The address of a load balancer is often put on the node; then the node's own packets to it carry it as their source.
  const admitsNode = port.loadBalancerSourceRanges.some((range) => nodeIps.some((ip) => cidrContains(range, ip)));
  return [
    ...port.loadBalancerSourceRanges.map(from),
    ...(admitsNode ? port.loadBalancerVips.map(asBlock).map(from) : []),
    comment(`other traffic to ${port.displayName} will be dropped by ${CHAIN.proxyFirewall}`),
  ];
}

/** One of n endpoints by chance: the i-th rule takes 1/(n-i) of what the rules before it have left. */
function balanceRules(
  port: ServicePort,
  chains: ServicePortChains,
  endpoints: readonly Endpoint[],
  options: ServiceRenderOptions,
): string[] {
  const toEndpoint = ({ address }: Endpoint, match: string) => {
    const about = options.isLargeCluster ? '' : `${comment(`${port.displayName} -> ${address}`)} `;
    return `${about}${match}-j ${chains.endpoint(address)}`;
  };
  const remembered =
    port.affinitySeconds === undefined
      ? []
      : endpoints.map((endpoint) =>
          toEndpoint(
            endpoint,
            `-m recent --rcheck --seconds ${port.affinitySeconds} --reap ${recentList(port, chains.endpoint(endpoint.address))} `,
          ),
        );
  const chosen = endpoints.map((endpoint, index) => {
    const left = endpoints.length - index;
    return toEndpoint(endpoint, left === 1 ? '' : `-m statistic --mode random --probability ${probability(left)} `);
  });
  return [...remembered, ...chosen];
}

function endpointRules(
  port: ServicePort,
  chains: ServicePortChains,
  { ip, address }: Endpoint,
  options: ServiceRenderOptions,
): string[] {
  const about = options.isLargeCluster ? '' : `${comment(port.displayName)} `;
  const remember =
    port.affinitySeconds === undefined ? '' : `-m recent --set ${recentList(port, chains.endpoint(address))} `;
  const protocol = port.protocol.toLowerCase();
  return [
    // A pod that reaches itself through its own service.
    `-s ${asBlock(ip)} ${about}-j ${CHAIN.markMasq}`,
    `-p ${protocol} ${about}${remember}-m ${protocol} -j DNAT --to-destination ${address}`,
  ];
}

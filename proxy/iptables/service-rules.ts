import { type LocalDetector, matchLocal } from '../local-detector.ts';
import { cidrContains } from '../state/addresses.ts';
import { type CategorizedEndpoints, categorizeEndpoints } from '../state/categorize.ts';
import {
  type Endpoint,
  isExternallyAccessible,
  type NodeTopology,
  type ServicePort,
  type ServicePortState,
  usesClusterEndpoints,
  usesLocalEndpoints,
} from '../state/model.ts';
import { CHAIN, type ServicePortChains, serviceChainsOf } from './names.ts';

export interface ServiceRenderOptions {
  node: NodeTopology;
  /** Addresses of this node, for source ranges that admit it. */
  nodeIps: readonly string[];
  localDetector: LocalDetector;
  masqueradeAll: boolean;
  /** Leaves comments out of per-service chains: the text of a thousand endpoints gets noticeably shorter. */
  isLargeCluster: boolean;
}

/** What one service port puts into the rules: its lines in the shared chains, and its own chains. Rules are without `-A CHAIN`. */
export interface ServicePortRules {
  filter: { services: string[]; externalServices: string[]; proxyFirewall: string[]; nodePorts: string[] };
  nat: { services: string[]; nodePorts: string[] };
  /** Own chains in the nat table, whole, in the order in which they are written. */
  chains: [name: string, rules: string[]][];
  /** Policies that leave this port without an endpoint here although there are some elsewhere. */
  withoutLocalEndpoints: { internal: boolean; external: boolean };
}

/** Renders one service port as kube-proxy's syncProxyRules does, rule for rule. */
export function renderServicePort(state: ServicePortState, options: ServiceRenderOptions): ServicePortRules {
  const { port } = state;
  const endpoints = categorizeEndpoints(state.endpoints, port, options.node);
  const chains = serviceChainsOf(port);
  const hasInternal = port.isInternalPolicyLocal ? endpoints.local.length > 0 : endpoints.hasAny;
  const hasExternal = port.isExternalPolicyLocal ? endpoints.local.length > 0 : endpoints.hasAny;
  const rules: ServicePortRules = {
    filter: { services: [], externalServices: [], proxyFirewall: [], nodePorts: [] },
    nat: { services: [], nodePorts: [] },
    chains: [],
    withoutLocalEndpoints: {
      internal: endpoints.hasAny && !hasInternal,
      external: endpoints.hasAny && !hasExternal && isExternallyAccessible(port),
    },
  };
  captureTraffic(rules, { port, chains, endpoints, hasInternal, hasExternal });
  rules.chains = buildChains({ port, chains, endpoints, hasInternal, hasExternal }, options);
  return rules;
}

interface Context {
  port: ServicePort;
  chains: ServicePortChains;
  endpoints: CategorizedEndpoints;
  /** Whether the internal (external) traffic policy leaves any endpoint. */
  hasInternal: boolean;
  hasExternal: boolean;
}

/** The lines in the chains that all services share: which packets are this port's, and where they go. */
function captureTraffic(rules: ServicePortRules, { port, chains, endpoints, hasInternal, hasExternal }: Context): void {
  const { filter, nat } = rules;
  const name = port.displayName;
  const protocol = matchProtocol(port);
  const to = (ip: string) => `${protocol} -d ${ip} --dport ${port.port}`;
  // Nobody anywhere: refuse, so that clients learn it at once. Somebody, but not here: drop, as the policy asks.
  const [refusal, why] = endpoints.hasAny
    ? ['DROP', comment(`${name} has no local endpoints`)]
    : ['REJECT', comment(`${name} has no endpoints`)];

  const internalChain = port.isInternalPolicyLocal ? chains.local : chains.cluster;
  if (hasInternal) nat.services.push(`${comment(`${name} cluster IP`)} ${to(port.clusterIp)} -j ${internalChain}`);
  else filter.services.push(`${why} ${to(port.clusterIp)} -j ${refusal}`);

  for (const ip of port.externalIps) {
    if (endpoints.hasAny) nat.services.push(`${comment(`${name} external IP`)} ${to(ip)} -j ${chains.external}`);
    if (!hasExternal) filter.externalServices.push(`${why} ${to(ip)} -j ${refusal}`);
  }

  const hasFirewall = usesFirewall(port, endpoints);
  for (const ip of port.loadBalancerVips) {
    const target = hasFirewall ? chains.firewall : chains.external;
    if (endpoints.hasAny) nat.services.push(`${comment(`${name} loadbalancer IP`)} ${to(ip)} -j ${target}`);
    if (hasFirewall)
      filter.proxyFirewall.push(`${comment(`${name} traffic not accepted by ${chains.firewall}`)} ${to(ip)} -j DROP`);
    if (!hasExternal) filter.externalServices.push(`${why} ${to(ip)} -j ${refusal}`);
  }

  if (port.nodePort !== 0) {
    const onNodePort = `${protocol} --dport ${port.nodePort}`;
    if (endpoints.hasAny) nat.nodePorts.push(`-m comment --comment ${name} ${onNodePort} -j ${chains.external}`);
    if (!hasExternal) filter.externalServices.push(`${why} -m addrtype --dst-type LOCAL ${onNodePort} -j ${refusal}`);
  }

  if (port.healthCheckNodePort !== 0)
    filter.nodePorts.push(
      `${comment(`${name} health check node port`)} -m tcp -p tcp --dport ${port.healthCheckNodePort} -j ACCEPT`,
    );
}

/** The port's own chains: external, firewall, cluster, local, then one for each endpoint. */
function buildChains(context: Context, options: ServiceRenderOptions): [string, string[]][] {
  const { port, chains, endpoints, hasInternal } = context;
  const written: [string, string[]][] = [];
  if (endpoints.hasAny && isExternallyAccessible(port))
    written.push([chains.external, externalRules(context, options.localDetector)]);
  if (usesFirewall(port, endpoints)) written.push([chains.firewall, firewallRules(port, chains, options.nodeIps)]);

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
  const elsewhere = options.masqueradeAll ? '' : matchLocal(options.localDetector, false);
  if (elsewhere === undefined) return [];
  const match = `${comment(`${port.displayName} cluster IP`)} ${matchProtocol(port)} -d ${port.clusterIp} --dport ${port.port}`;
  return [`${match}${elsewhere && ` ${elsewhere}`} -j ${CHAIN.markMasq}`];
}

function externalRules({ port, chains, hasExternal }: Context, detector: LocalDetector): string[] {
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
    ...(fromPods ? [`${comment(`pod traffic for ${destinations}`)} ${fromPods} -j ${chains.cluster}`] : []),
    `${comment(`masquerade LOCAL traffic for ${destinations}`)} ${fromNode} -j ${CHAIN.markMasq}`,
    `${comment(`route LOCAL traffic for ${destinations}`)} ${fromNode} -j ${chains.cluster}`,
    ...last,
  ];
}

function usesFirewall(port: ServicePort, endpoints: CategorizedEndpoints): boolean {
  return endpoints.hasAny && port.loadBalancerVips.length > 0 && port.loadBalancerSourceRanges.length > 0;
}

function firewallRules(port: ServicePort, chains: ServicePortChains, nodeIps: readonly string[]): string[] {
  const from = (source: string) =>
    `${comment(`${port.displayName} loadbalancer IP`)} -s ${source} -j ${chains.external}`;
  // The address of a load balancer is often put on the node; then the node's own packets to it carry it as their source.
  const admitsNode = port.loadBalancerSourceRanges.some((range) => nodeIps.some((ip) => cidrContains(range, ip)));
  return [
    ...port.loadBalancerSourceRanges.map(from),
    ...(admitsNode ? port.loadBalancerVips.map(from) : []),
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
            `-m recent --name ${chains.endpoint(endpoint.address)} --rcheck --seconds ${port.affinitySeconds} --reap `,
          ),
        );
  const chosen = endpoints.map((endpoint, index) => {
    const left = endpoints.length - index;
    return toEndpoint(
      endpoint,
      left === 1 ? '' : `-m statistic --mode random --probability ${(1 / left).toFixed(10)} `,
    );
  });
  return [...remembered, ...chosen];
}

function endpointRules(
  port: ServicePort,
  chains: ServicePortChains,
  { ip, address }: Endpoint,
  options: ServiceRenderOptions,
): string[] {
  const about = options.isLargeCluster ? '' : `-m comment --comment ${port.displayName} `;
  const remember = port.affinitySeconds === undefined ? '' : `-m recent --name ${chains.endpoint(address)} --set `;
  return [
    // A pod that reaches itself through its own service.
    `${about}-s ${ip} -j ${CHAIN.markMasq}`,
    `${about}${remember}${matchProtocol(port)} -j DNAT --to-destination ${address}`,
  ];
}

function matchProtocol({ protocol }: ServicePort): string {
  const name = protocol.toLowerCase();
  return `-m ${name} -p ${name}`;
}

function comment(text: string): string {
  return `-m comment --comment "${text}"`;
}

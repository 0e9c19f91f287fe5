import type { LocalDetector } from '../local-detector.ts';
import { type CategorizedEndpoints, categorizeEndpoints } from '../state/categorize.ts';
import { isExternallyAccessible, type NodeTopology, type ServicePort, type ServicePortState } from '../state/model.ts';
import { type ServicePortChains, serviceChainsOf } from './names.ts';
import { buildServiceChains } from './service-chains.ts';
import { comment, isIpv6, matchCounter, matchPort } from './spelling.ts';

export interface ServiceRenderOptions {
  node: NodeTopology;
  /** Addresses of this node, for source ranges that admit it. */
  nodeIps: readonly string[];
  localDetector: LocalDetector;
  masqueradeAll: boolean;
  /** The nfacct counter of packets to NodePorts at 127.0.0.1, where that is served and counted. */
  localhostNodePortCounter?: string;
  /** Leaves comments out of per-service chains: the text of a thousand endpoints gets noticeably shorter. */
  isLargeCluster: boolean;
}

/** A chain that holds lines of all services. */
export type LineChain =
  | 'filter KUBE-SERVICES'
  | 'filter KUBE-EXTERNAL-SERVICES'
  | 'filter KUBE-PROXY-FIREWALL'
  | 'filter KUBE-NODEPORTS'
  | 'nat KUBE-SERVICES'
  | 'nat KUBE-NODEPORTS';

/** What one service port puts into the rules, spelled as iptables-save prints it (without `-A CHAIN`). */
export interface ServicePortRules {
  /** Its lines in shared chains. */
  lines: ReadonlyMap<LineChain, readonly string[]>;
  /** Its own chains in the nat table, whole. */
  chains: readonly (readonly [name: string, rules: readonly string[]])[];
  /** Policies that leave this port without an endpoint here although there are some elsewhere. */
  withoutLocalEndpoints: { internal: boolean; external: boolean };
}

/** A port with what follows from its endpoints and policies. */
export interface ServicePortContext {
  port: ServicePort;
  chains: ServicePortChains;
  endpoints: CategorizedEndpoints;
  /** Whether the internal (external) traffic policy leaves any endpoint. */
  hasInternal: boolean;
  hasExternal: boolean;
  /** Source ranges decide who may use the load balancer. */
  hasFirewall: boolean;
}

/** Renders one service port as kube-proxy's syncProxyRules does, rule for rule. */
export function renderServicePort(state: ServicePortState, options: ServiceRenderOptions): ServicePortRules {
  const context = contextOf(state, options);
  const { port, endpoints, hasInternal, hasExternal } = context;
  return {
    lines: captureTraffic(context, options),
    chains: buildServiceChains(context, options),
    withoutLocalEndpoints: {
      internal: endpoints.hasAny && !hasInternal,
      external: endpoints.hasAny && !hasExternal && isExternallyAccessible(port),
    },
  };
}

/** As renderServicePort, but the lines in shared chains only. */
export function renderServiceLines(
  state: ServicePortState,
  options: ServiceRenderOptions,
): ReadonlyMap<LineChain, readonly string[]> {
  return captureTraffic(contextOf(state, options), options);
}

function contextOf({ port, endpoints: all }: ServicePortState, { node }: ServiceRenderOptions): ServicePortContext {
  const endpoints = categorizeEndpoints(all, port, node);
  return {
    port,
    endpoints,
    chains: serviceChainsOf(port),
    hasInternal: port.isInternalPolicyLocal ? endpoints.local.length > 0 : endpoints.hasAny,
    hasExternal: port.isExternalPolicyLocal ? endpoints.local.length > 0 : endpoints.hasAny,
    hasFirewall: endpoints.hasAny && port.loadBalancerVips.length > 0 && port.loadBalancerSourceRanges.length > 0,
  };
}

/** The lines in the chains that all services share: which packets are this port's, and where they go. */
function captureTraffic(
  { port, chains, endpoints, hasInternal, hasExternal, hasFirewall }: ServicePortContext,
  { localhostNodePortCounter }: ServiceRenderOptions,
): Map<LineChain, string[]> {
  const lines = new Map<LineChain, string[]>();
  const add = (chain: LineChain, rule: string) => {
    const known = lines.get(chain);
    if (known) known.push(rule);
    else lines.set(chain, [rule]);
  };
  const name = port.displayName;
  const to = (ip: string, about: string) => matchPort(port, port.port, { destination: ip, about });
  // Nobody anywhere: refuse, so that clients learn it at once. Somebody, but not here: drop, as the policy asks.
  const [refusal, why] = endpoints.hasAny
    ? ['DROP', comment(`${name} has no local endpoints`)]
    : [`REJECT --reject-with ${isIpv6(port) ? 'icmp6' : 'icmp'}-port-unreachable`, comment(`${name} has no endpoints`)];

  const internalChain = port.isInternalPolicyLocal ? chains.local : chains.cluster;
  if (hasInternal) add('nat KUBE-SERVICES', `${to(port.clusterIp, comment(`${name} cluster IP`))} -j ${internalChain}`);
  else add('filter KUBE-SERVICES', `${to(port.clusterIp, why)} -j ${refusal}`);

  for (const ip of port.externalIps) {
    if (endpoints.hasAny) add('nat KUBE-SERVICES', `${to(ip, comment(`${name} external IP`))} -j ${chains.external}`);
    if (!hasExternal) add('filter KUBE-EXTERNAL-SERVICES', `${to(ip, why)} -j ${refusal}`);
  }

  for (const ip of port.loadBalancerVips) {
    const target = hasFirewall ? chains.firewall : chains.external;
    if (endpoints.hasAny) add('nat KUBE-SERVICES', `${to(ip, comment(`${name} loadbalancer IP`))} -j ${target}`);
    if (hasFirewall)
      add(
        'filter KUBE-PROXY-FIREWALL',
        `${to(ip, comment(`${name} traffic not accepted by ${chains.firewall}`))} -j DROP`,
      );
    if (!hasExternal) add('filter KUBE-EXTERNAL-SERVICES', `${to(ip, why)} -j ${refusal}`);
  }

  if (port.nodePort !== 0) {
    if (endpoints.hasAny) {
      const match = matchPort(port, port.nodePort, { about: comment(name) });
      if (localhostNodePortCounter && !isIpv6(port))
        add(
          'nat KUBE-NODEPORTS',
          `-d 127.0.0.0/8 ${match} ${matchCounter(localhostNodePortCounter)} -j ${chains.external}`,
        );
      add('nat KUBE-NODEPORTS', `${match} -j ${chains.external}`);
    }
    if (!hasExternal)
      add(
        'filter KUBE-EXTERNAL-SERVICES',
        `${matchPort(port, port.nodePort, { about: `${why} -m addrtype --dst-type LOCAL` })} -j ${refusal}`,
      );
  }

  if (port.healthCheckNodePort !== 0)
    add(
      'filter KUBE-NODEPORTS',
      `-p tcp ${comment(`${name} health check node port`)} -m tcp --dport ${port.healthCheckNodePort} -j ACCEPT`,
    );
  return lines;
}

import type { Chain, Protocol, Rule } from '../../src/netfilter/nfnetlink/rule.ts';
import type { SetDefinition, SetElement, Verdict } from '../../src/netfilter/nfnetlink/set.ts';
import type { NodeRenderOptions } from '../mode.ts';
import { cidrContains } from '../state/addresses.ts';
import { type CategorizedEndpoints, categorizeEndpoints } from '../state/categorize.ts';
import { type Endpoint, isExternallyAccessible, type ServicePort, type ServicePortState } from '../state/model.ts';
import { buildAffinity } from './affinity.ts';
import {
  BY_ADDRESS,
  BY_NODEPORT,
  drawingChain,
  type Entrance,
  externalDrawingChain,
  localDrawingChain,
} from './drawing.ts';
import { CHAIN, namesOf, type ServicePortNames } from './names.ts';
import { CLUSTER_IPS, FIREWALL_IPS, HAIRPIN_CONNECTIONS, NO_ENDPOINT_NODEPORTS, NO_ENDPOINT_SERVICES } from './sets.ts';

/** An element of a shared set that one service port asks for; others may ask for one under the same key. */
export interface ClaimedElement {
  readonly set: SetDefinition;
  readonly element: SetElement;
  /** Endpoints that go with it: each stands in its map under the element's key and its index. */
  readonly draws?: readonly Draw[];
}

export interface Draw {
  readonly map: SetDefinition;
  readonly endpoints: readonly Endpoint[];
}

/** What one service port puts into the table. */
export interface ServicePortRules {
  /** `ns/name:port` and protocol: whoever comes first in this order has an address that two ask for. */
  readonly owner: string;
  /** Of its own. */
  readonly chains: readonly Chain[];
  /** Those that all ports with as many endpoints share; equal names, equal rules. */
  readonly drawingChains: readonly Chain[];
  /** Dynamic sets, one for each endpoint that clients are to come back to. */
  readonly affinitySets: readonly SetDefinition[];
  readonly elements: readonly ClaimedElement[];
  /** Policies that leave this port without an endpoint here although there are some elsewhere. */
  readonly withoutLocalEndpoints: { readonly internal: boolean; readonly external: boolean };
}

/** Renders one service port. Behaviour is kube-proxy's; that services share chains and maps is ours. */
export function renderServicePort(
  { port, endpoints: all }: ServicePortState,
  options: NodeRenderOptions,
): ServicePortRules {
  const endpoints = categorizeEndpoints(all, port, options.node);
  const names = namesOf(port);
  const hasInternal = port.isInternalPolicyLocal ? endpoints.local.length > 0 : endpoints.hasAny;
  const hasExternal = port.isExternalPolicyLocal ? endpoints.local.length > 0 : endpoints.hasAny;
  const context: Context = { port, names, endpoints, hasInternal, hasExternal, options };
  const affinity = buildAffinity(port, names, endpoints, options);
  const drawn = drawEndpoints(context);
  const firewall = buildFirewall(context);
  return {
    owner: `${port.displayName} ${port.protocol}`,
    chains: [...affinity.chains, ...firewall.chains],
    drawingChains: drawn.chains,
    affinitySets: affinity.sets,
    elements: [
      { set: CLUSTER_IPS, element: { key: [port.clusterIp] } },
      ...drawn.elements,
      ...refuse(context),
      ...firewall.elements,
      ...hairpinElements(context),
    ],
    withoutLocalEndpoints: {
      internal: endpoints.hasAny && !hasInternal,
      external: endpoints.hasAny && !hasExternal && isExternallyAccessible(port),
    },
  };
}

interface Context {
  port: ServicePort;
  names: ServicePortNames;
  endpoints: CategorizedEndpoints;
  /** Whether the internal (external) traffic policy leaves any endpoint. */
  hasInternal: boolean;
  hasExternal: boolean;
  options: NodeRenderOptions;
}

interface Part {
  chains: Chain[];
  elements: ClaimedElement[];
}

/** Where packets of this port go: into a chain that draws one of its endpoints, or into its own where clients come back. */
function drawEndpoints({ port, names, endpoints, hasInternal, options }: Context): Part {
  const part: Part = { chains: [], elements: [] };
  const protocol = protocolOf(port);
  const hasAffinity = port.affinitySeconds !== undefined;
  const lead = (entrance: Entrance, key: SetElement['key'], chain: Chain, draws: readonly Draw[], own: string) => {
    if (!hasAffinity) part.chains.push(chain);
    part.elements.push({
      set: entrance.verdicts,
      element: { key, data: { code: 'goto', chain: hasAffinity ? own : chain.name }, comment: about(port.displayName) },
      draws: hasAffinity ? [] : draws,
    });
  };
  if (hasInternal) {
    const targets = port.isInternalPolicyLocal ? endpoints.local : endpoints.cluster;
    lead(
      BY_ADDRESS,
      [port.clusterIp, protocol, port.port],
      drawingChain(protocol, targets.length),
      [{ map: BY_ADDRESS.endpoints, endpoints: targets }],
      port.isInternalPolicyLocal ? names.local : names.cluster,
    );
  }
  if (!endpoints.hasAny) return part;
  const { cluster, local } = endpoints;
  const leadExternal = (entrance: Entrance, key: SetElement['key']) => {
    if (port.isExternalPolicyLocal)
      lead(
        entrance,
        key,
        localDrawingChain(entrance, protocol, { localCount: local.length, allCount: cluster.length }, options),
        [
          { map: entrance.endpoints, endpoints: local },
          { map: entrance.allEndpoints, endpoints: cluster },
        ],
        names.external,
      );
    else
      lead(
        entrance,
        key,
        externalDrawingChain(entrance, protocol, cluster.length, options),
        [{ map: entrance.endpoints, endpoints: cluster }],
        names.external,
      );
  };
  for (const ip of [...port.externalIps, ...port.loadBalancerVips]) leadExternal(BY_ADDRESS, [ip, protocol, port.port]);
  if (port.nodePort !== 0) leadExternal(BY_NODEPORT, [protocol, port.nodePort]);
  return part;
}

/** Nobody anywhere: reject, so that clients learn it at once. Somebody, but not here: drop, as the policy asks. */
function refuse({ port, endpoints, hasInternal, hasExternal }: Context): ClaimedElement[] {
  const protocol = protocolOf(port);
  const data: Verdict = endpoints.hasAny ? { code: 'drop' } : { code: 'goto', chain: CHAIN.reject };
  const comment = about(port.displayName);
  const refuseAt = (ip: string): ClaimedElement => ({
    set: NO_ENDPOINT_SERVICES,
    element: { key: [ip, protocol, port.port], data, comment },
  });
  return [
    ...(hasInternal ? [] : [refuseAt(port.clusterIp)]),
    ...(hasExternal ? [] : [...port.externalIps, ...port.loadBalancerVips].map(refuseAt)),
    ...(hasExternal || port.nodePort === 0
      ? []
      : [{ set: NO_ENDPOINT_NODEPORTS, element: { key: [protocol, port.nodePort], data, comment } }]),
  ];
}

/** Endpoints on other nodes cannot come back to themselves through this one. */
function hairpinElements({ port, endpoints }: Context): ClaimedElement[] {
  return endpoints.reachable
    .filter(({ isLocal }) => isLocal)
    .map(({ ip, port: number }) => ({
      set: HAIRPIN_CONNECTIONS,
      element: { key: [ip, ip, protocolOf(port), number] },
    }));
}

/** A chain that lets a load balancer's source ranges pass and drops others. NodePorts are not its concern. */
function buildFirewall({ port, names, endpoints, options }: Context): Part {
  const { loadBalancerVips: vips, loadBalancerSourceRanges: ranges } = port;
  if (!endpoints.hasAny || vips.length === 0 || ranges.length === 0) return { chains: [], elements: [] };
  // The address of a load balancer is often put on the node; then the node's own packets to it carry it as their source.
  const admitsNode = ranges.some((range) => options.nodeIps.some((ip) => cidrContains(range, ip)));
  const admitted = [...ranges, ...(admitsNode ? vips : [])];
  const rules = admitted.map(
    (cidr): Rule => ({ statements: [{ kind: 'address', field: 'saddr', cidr }, { kind: 'return' }] }),
  );
  const last: Rule = {
    statements: [{ kind: 'drop' }],
    comment: about(`not in the source ranges of ${port.displayName}`),
  };
  return {
    chains: [{ name: names.firewall, rules: [...rules, last] }],
    elements: vips.map((ip) => ({
      set: FIREWALL_IPS,
      element: { key: [ip, protocolOf(port), port.port], data: { code: 'goto', chain: names.firewall } },
    })),
  };
}

function protocolOf({ protocol }: ServicePort): Protocol {
  return protocol.toLowerCase() as Protocol;
}

/** nft refuses to read comments beyond this. */
const COMMENT_LIMIT = 127;

function about(text: string): string {
  return text.slice(0, COMMENT_LIMIT);
}

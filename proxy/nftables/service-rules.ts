import type { Chain, Rule, Statement } from '../../src/netfilter/nfnetlink/rule.ts';
import type { SetDefinition, SetElement, Verdict } from '../../src/netfilter/nfnetlink/set.ts';
import type { NodeRenderOptions } from '../mode.ts';
import { cidrContains } from '../state/addresses.ts';
import { type CategorizedEndpoints, categorizeEndpoints } from '../state/categorize.ts';
import {
  type Endpoint,
  isExternallyAccessible,
  type ServicePort,
  type ServicePortState,
  usesClusterEndpoints,
  usesLocalEndpoints,
} from '../state/model.ts';
import { CHAIN, namesOf, type ServicePortNames } from './names.ts';
import {
  CLUSTER_IPS,
  ENDPOINTS,
  FIREWALL_IPS,
  HAIRPIN_CONNECTIONS,
  NO_ENDPOINT_NODEPORTS,
  NO_ENDPOINT_SERVICES,
  SERVICE_IPS,
  SERVICE_NODEPORTS,
} from './sets.ts';
import { matchLocal } from './shared-rules.ts';
import type { SlotAllocator } from './slots.ts';

/** An element of a shared set that one service port asks for; others may ask for one under the same key. */
export interface ClaimedElement {
  readonly set: SetDefinition;
  readonly element: SetElement;
}

/** Endpoints that stand in the map of endpoints, from a slot on. */
export interface EndpointRange {
  readonly chain: string;
  readonly first: number;
  readonly endpoints: readonly Endpoint[];
}

/** What one service port puts into the table. */
export interface ServicePortRules {
  /** `ns/name:port` and protocol: whoever comes first in this order has an address that two ask for. */
  readonly owner: string;
  /** In an order in which they can be written: a chain comes before those that lead to it. */
  readonly chains: readonly Chain[];
  /** Dynamic sets, one for each endpoint that clients are to come back to. */
  readonly affinitySets: readonly SetDefinition[];
  readonly ranges: readonly EndpointRange[];
  readonly elements: readonly ClaimedElement[];
  /** Policies that leave this port without an endpoint here although there are some elsewhere. */
  readonly withoutLocalEndpoints: { readonly internal: boolean; readonly external: boolean };
}

interface Context {
  port: ServicePort;
  names: ServicePortNames;
  endpoints: CategorizedEndpoints;
  /** Whether the internal (external) traffic policy leaves any endpoint. */
  hasInternal: boolean;
  hasExternal: boolean;
  usesFirewall: boolean;
  options: NodeRenderOptions;
}

/** Renders one service port. Behaviour is kube-proxy's; that endpoints stand in one shared map is ours. */
export function renderServicePort(
  { port, endpoints: all }: ServicePortState,
  options: NodeRenderOptions,
  slots: SlotAllocator,
): ServicePortRules {
  const endpoints = categorizeEndpoints(all, port, options.node);
  const hasInternal = port.isInternalPolicyLocal ? endpoints.local.length > 0 : endpoints.hasAny;
  const hasExternal = port.isExternalPolicyLocal ? endpoints.local.length > 0 : endpoints.hasAny;
  const usesFirewall = endpoints.hasAny && port.loadBalancerVips.length > 0 && port.loadBalancerSourceRanges.length > 0;
  const context: Context = { port, names: namesOf(port), endpoints, hasInternal, hasExternal, usesFirewall, options };
  return {
    owner: `${port.displayName} ${port.protocol}`,
    ...buildBalancing(context, slots),
    elements: [...captureTraffic(context), ...hairpinElements(context)],
    withoutLocalEndpoints: {
      internal: endpoints.hasAny && !hasInternal,
      external: endpoints.hasAny && !hasExternal && isExternallyAccessible(port),
    },
  };
}

/** Which packets are this port's, and where they go. */
function captureTraffic({ port, names, endpoints, hasInternal, hasExternal, usesFirewall }: Context): ClaimedElement[] {
  const elements: ClaimedElement[] = [];
  const protocol = port.protocol.toLowerCase();
  const add = (set: SetDefinition, key: SetElement['key'], data?: Verdict, comment?: string) =>
    elements.push({ set, element: { key, data, comment } });
  const goto = (chain: string): Verdict => ({ code: 'goto', chain });
  // Nobody anywhere: refuse, so that clients learn it at once. Somebody, but not here: drop, as the policy asks.
  const refusal: Verdict = endpoints.hasAny ? { code: 'drop' } : goto(CHAIN.reject);

  add(CLUSTER_IPS, [port.clusterIp]);
  const onClusterIp = [port.clusterIp, protocol, port.port];
  if (hasInternal) add(SERVICE_IPS, onClusterIp, goto(port.isInternalPolicyLocal ? names.local : names.cluster));
  else add(NO_ENDPOINT_SERVICES, onClusterIp, refusal, about(port.displayName));

  for (const ip of [...port.externalIps, ...port.loadBalancerVips]) {
    const to = [ip, protocol, port.port];
    if (endpoints.hasAny) add(SERVICE_IPS, to, goto(names.external));
    if (!hasExternal) add(NO_ENDPOINT_SERVICES, to, refusal, about(port.displayName));
  }
  if (usesFirewall)
    for (const ip of port.loadBalancerVips) add(FIREWALL_IPS, [ip, protocol, port.port], goto(names.firewall));
  if (port.nodePort !== 0) {
    const onNodePort = [protocol, port.nodePort];
    if (endpoints.hasAny) add(SERVICE_NODEPORTS, onNodePort, goto(names.external));
    if (!hasExternal) add(NO_ENDPOINT_NODEPORTS, onNodePort, refusal, about(port.displayName));
  }
  return elements;
}

/** Endpoints on other nodes cannot come back to themselves through this one. */
function hairpinElements({ port, endpoints }: Context): ClaimedElement[] {
  return endpoints.reachable
    .filter(({ isLocal }) => isLocal)
    .map(({ ip, port: endpointPort }) => ({
      set: HAIRPIN_CONNECTIONS,
      element: { key: [ip, ip, port.protocol.toLowerCase(), endpointPort] },
    }));
}

/** The port's own chains and what they draw from. */
function buildBalancing(
  context: Context,
  slots: SlotAllocator,
): Pick<ServicePortRules, 'chains' | 'affinitySets' | 'ranges'> {
  const { port, names, endpoints } = context;
  const chains: Chain[] = [];
  const ranges: EndpointRange[] = [];
  const affinitySets: SetDefinition[] = [];
  const lists = (
    [
      [names.cluster, usesClusterEndpoints(port), endpoints.cluster],
      [names.local, usesLocalEndpoints(port), endpoints.local],
    ] as const
  ).filter(([, isUsed, targets]) => isUsed && targets.length > 0);
  if (port.affinitySeconds !== undefined)
    for (const endpoint of endpoints.reachable) {
      const { chain, affinitySet } = names.endpoint(endpoint);
      affinitySets.push(affinityDefinition(affinitySet, port.affinitySeconds));
      chains.push({ name: chain, rules: rememberingRules(port, endpoint, affinitySet) });
    }
  for (const [name, , targets] of lists)
    if (port.affinitySeconds === undefined) {
      const first = slots.first(name, targets.length);
      ranges.push({ chain: name, first, endpoints: targets });
      chains.push({ name, rules: [drawingRule(port, first, targets.length)] });
    } else chains.push({ name, rules: returningRules(names, targets) });
  if (endpoints.hasAny && isExternallyAccessible(port))
    chains.push({ name: names.external, rules: externalRules(context) });
  if (context.usesFirewall) chains.push({ name: names.firewall, rules: firewallRules(context) });
  return { chains, affinitySets, ranges };
}

function drawingRule(port: ServicePort, first: number, count: number): Rule {
  return {
    statements: [protocolOf(port), { kind: 'dnat-random', slots: { first, count }, map: ENDPOINTS.name }],
  };
}

/** The set is full after so many clients; those beyond go to any endpoint. */
const AFFINITY_CLIENTS = 65_535;

function affinityDefinition(name: string, timeoutSeconds: number): SetDefinition {
  return { name, key: ['address'], dynamic: { timeoutSeconds, size: AFFINITY_CLIENTS } };
}

function rememberingRules(port: ServicePort, { ip, port: number }: Endpoint, set: string): Rule[] {
  return [
    { statements: [{ kind: 'remember', set }] },
    { statements: [protocolOf(port), { kind: 'dnat', address: ip, port: number }] },
  ];
}

/** Back to the endpoint that the client was sent to before, else one of n by lot: the i-th of what the ones before have left. */
function returningRules(names: ServicePortNames, targets: readonly Endpoint[]): Rule[] {
  const named = targets.map((endpoint) => names.endpoint(endpoint));
  return [
    ...named.map(
      ({ chain, affinitySet }): Rule => ({
        statements: [
          { kind: 'in-set', fields: ['saddr'], set: affinitySet },
          { kind: 'goto', chain },
        ],
      }),
    ),
    ...named.map(({ chain }, index): Rule => {
      const left = named.length - index;
      const chance: Statement[] = left === 1 ? [] : [{ kind: 'chance', oneIn: left }];
      return { statements: [...chance, { kind: 'goto', chain }] };
    }),
  ];
}

function externalRules({ port, names, hasExternal, options }: Context): Rule[] {
  const mark: Statement = { kind: 'set-mark', bits: options.masqueradeMark };
  const last: Rule[] = hasExternal
    ? [{ statements: [{ kind: 'goto', chain: port.isExternalPolicyLocal ? names.local : names.cluster }] }]
    : [];
  // The endpoint may be on another node, whose answer must come back through here.
  if (!port.isExternalPolicyLocal) return [{ statements: [mark] }, ...last];
  // Pods and the node itself are not the policy's subject: they reach all endpoints, as if they had gone out and come back in.
  const toAll: Statement = { kind: 'goto', chain: names.cluster };
  const fromPods = matchLocal(options.localDetector, true);
  const fromNode: Statement = { kind: 'local-address', field: 'saddr' };
  return [
    ...(fromPods ? [{ statements: [...fromPods, toAll], comment: 'short-circuit pod traffic' }] : []),
    { statements: [fromNode, mark], comment: 'masquerade local traffic' },
    { statements: [fromNode, toAll], comment: 'short-circuit local traffic' },
    ...last,
  ];
}

/** In the order of the ranges; whoever is in none of them is dropped. */
function firewallRules({ port, options }: Context): Rule[] {
  // The address of a load balancer is often put on the node; then the node's own packets to it carry it as their source.
  const admitsNode = port.loadBalancerSourceRanges.some((range) =>
    options.nodeIps.some((ip) => cidrContains(range, ip)),
  );
  const admitted = [...port.loadBalancerSourceRanges, ...(admitsNode ? port.loadBalancerVips : [])];
  return [
    ...admitted.map((cidr): Rule => ({ statements: [{ kind: 'address', field: 'saddr', cidr }, { kind: 'return' }] })),
    { statements: [{ kind: 'drop' }], comment: about(`not in the source ranges of ${port.displayName}`) },
  ];
}

/** nft refuses to read comments beyond this. */
const COMMENT_LIMIT = 127;

function about(text: string): string {
  return text.slice(0, COMMENT_LIMIT);
}

/** DNAT to a port needs to know whose port it is. */
function protocolOf({ protocol }: ServicePort): Statement {
  return { kind: 'protocol', protocol: protocol.toLowerCase() as 'tcp' | 'udp' | 'sctp' };
}

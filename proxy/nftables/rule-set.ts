import type { Chain, Family } from '../../src/netfilter/nfnetlink/rule.ts';
import type { SetDefinition, SetElement } from '../../src/netfilter/nfnetlink/set.ts';
import type { IpFamily } from '../../src/netfilter/tables.ts';
import type { NodeRenderOptions } from '../mode.ts';
import type { ProxySnapshot, ServiceState } from '../state/model.ts';
import { type ElementChanges, ElementClaims } from './claims.ts';
import { renderServicePort, type ServicePortRules } from './service-rules.ts';
import { NODEPORT_IPS, SHARED_SETS } from './sets.ts';
import { buildSharedChains } from './shared-rules.ts';

/** The table of one family: what is the same for all services, and what each of them adds. */
export interface RuleSet {
  readonly family: Family;
  readonly sharedChains: readonly Chain[];
  /** Shared sets, without elements. */
  readonly sets: readonly SetDefinition[];
  /** The addresses that take NodePort traffic, where it is not all of them. */
  readonly nodePortIps: readonly SetElement[];
  /** By `ns/name`. */
  readonly services: Map<string, readonly ServicePortRules[]>;
  /** By name: chains that draw endpoints, and how often they are asked for. */
  readonly drawingChains: Map<string, { chain: Chain; uses: number }>;
  readonly claims: ElementClaims;
  /** Service ports that a traffic policy leaves without an endpoint here; and all endpoints. */
  readonly totals: { withoutInternal: number; withoutExternal: number; endpoints: number };
}

export const NFT_FAMILY: Record<IpFamily, Family> = { IPv4: 'ip', IPv6: 'ip6' };

/** The whole table of a snapshot, in steps of a service. Pure: equal input gives an equal table, whatever came before. */
export function* renderRuleSetSteps(snapshot: ProxySnapshot, options: NodeRenderOptions): Generator<void, RuleSet> {
  const ruleSet = emptyRuleSet(snapshot.family, options);
  for (const [name, state] of snapshot.services) {
    const ports = renderService(state, options);
    ruleSet.services.set(name, ports);
    for (const port of ports) addPort(ruleSet, port);
    yield;
  }
  ruleSet.claims.settle();
  return ruleSet;
}

function emptyRuleSet(family: IpFamily, options: NodeRenderOptions): RuleSet {
  const nft = NFT_FAMILY[family];
  return {
    family: nft,
    sharedChains: buildSharedChains(nft, options),
    sets: [...SHARED_SETS, ...(options.nodePortAddresses ? [NODEPORT_IPS] : [])],
    nodePortIps: (options.nodePortAddresses ?? []).map((address) => ({ key: [address] })),
    services: new Map(),
    drawingChains: new Map(),
    claims: new ElementClaims(),
    totals: { withoutInternal: 0, withoutExternal: 0, endpoints: 0 },
  };
}

function renderService({ ports }: ServiceState, options: NodeRenderOptions): readonly ServicePortRules[] {
  return ports.map((port) => renderServicePort(port, options));
}

/** Some services before and after a change. */
export interface RuleSetChanges {
  readonly before: RulesOfPorts;
  readonly after: RulesOfPorts;
  readonly elements: ElementChanges;
}

export interface RulesOfPorts {
  /** Those of the ports' own, and those that they share with nobody who stays. */
  readonly chains: readonly Chain[];
  readonly affinitySets: readonly SetDefinition[];
}

/** Puts services in the place of their former selves, in steps of a service. The cost is theirs, whatever stands beside them. */
export function* replaceServicesSteps(
  ruleSet: RuleSet,
  snapshot: ProxySnapshot,
  names: ReadonlySet<string>,
  options: NodeRenderOptions,
): Generator<void, RuleSetChanges> {
  const before: ServicePortRules[] = [];
  const after: ServicePortRules[] = [];
  const drawn = new Map<string, Chain | undefined>();
  const touch = ({ drawingChains }: ServicePortRules) => {
    for (const { name } of drawingChains) if (!drawn.has(name)) drawn.set(name, ruleSet.drawingChains.get(name)?.chain);
  };
  for (const name of names) {
    for (const port of ruleSet.services.get(name) ?? []) {
      touch(port);
      before.push(port);
      removePort(ruleSet, port);
    }
    const state = snapshot.services.get(name);
    if (!state) ruleSet.services.delete(name);
    else {
      const ports = renderService(state, options);
      ruleSet.services.set(name, ports);
      for (const port of ports) {
        touch(port);
        after.push(port);
        addPort(ruleSet, port);
      }
    }
    yield;
  }
  const standing = [...drawn.keys()].flatMap((name) => ruleSet.drawingChains.get(name)?.chain ?? []);
  return {
    before: rulesOf(
      before,
      [...drawn.values()].filter((chain) => chain !== undefined),
    ),
    after: rulesOf(after, standing),
    elements: ruleSet.claims.takeChanges(),
  };
}

function rulesOf(ports: readonly ServicePortRules[], drawingChains: readonly Chain[]): RulesOfPorts {
  return {
    chains: [...drawingChains, ...ports.flatMap(({ chains }) => chains)],
    affinitySets: ports.flatMap(({ affinitySets }) => affinitySets),
  };
}

function addPort(ruleSet: RuleSet, port: ServicePortRules): void {
  ruleSet.claims.add(port);
  for (const chain of port.drawingChains) {
    const known = ruleSet.drawingChains.get(chain.name);
    if (known) known.uses++;
    else ruleSet.drawingChains.set(chain.name, { chain, uses: 1 });
  }
  count(ruleSet, port, 1);
}

function removePort(ruleSet: RuleSet, port: ServicePortRules): void {
  ruleSet.claims.remove(port);
  for (const { name } of port.drawingChains) {
    const known = ruleSet.drawingChains.get(name);
    if (known && --known.uses === 0) ruleSet.drawingChains.delete(name);
  }
  count(ruleSet, port, -1);
}

function count({ totals }: RuleSet, { withoutLocalEndpoints, elements }: ServicePortRules, by: 1 | -1): void {
  if (withoutLocalEndpoints.internal) totals.withoutInternal += by;
  if (withoutLocalEndpoints.external) totals.withoutExternal += by;
  for (const { draws } of elements) for (const { endpoints } of draws ?? []) totals.endpoints += by * endpoints.length;
}

/** All chains, those that others lead to first. */
export function* chainsOf(ruleSet: RuleSet): Generator<Chain, void> {
  for (const { chain } of ruleSet.drawingChains.values()) yield chain;
  for (const ports of ruleSet.services.values()) for (const { chains } of ports) yield* chains;
  yield* ruleSet.sharedChains;
}

export function* affinitySetsOf(ruleSet: RuleSet): Generator<SetDefinition, void> {
  for (const ports of ruleSet.services.values()) for (const { affinitySets } of ports) yield* affinitySets;
}

/** Elements of all sets that are not filled by rules. */
export function* elementsOf(ruleSet: RuleSet): Generator<{ set: SetDefinition; element: SetElement }, void> {
  for (const element of ruleSet.nodePortIps) yield { set: NODEPORT_IPS, element };
  yield* ruleSet.claims.standing();
}

import type { Chain, Family } from '../../src/netfilter/nfnetlink/rule.ts';
import type { SetDefinition, SetElement } from '../../src/netfilter/nfnetlink/set.ts';
import type { IpFamily } from '../../src/netfilter/tables.ts';
import type { NodeRenderOptions } from '../mode.ts';
import type { ProxySnapshot, ServiceState } from '../state/model.ts';
import { ElementClaims } from './claims.ts';
import { type EndpointRange, renderServicePort, type ServicePortRules } from './service-rules.ts';
import { ENDPOINTS, NODEPORT_IPS, SHARED_SETS } from './sets.ts';
import { buildSharedChains } from './shared-rules.ts';
import { createSlotAllocator, type SlotAllocator } from './slots.ts';

/** The table of one family: what is the same for all services, and what each of them adds. */
export interface RuleSet {
  readonly family: Family;
  readonly sharedChains: readonly Chain[];
  /** Shared sets, without elements; and the addresses that take NodePort traffic, where it is not all of them. */
  readonly sets: readonly SetDefinition[];
  readonly nodePortIps: readonly SetElement[];
  /** By `ns/name`. */
  readonly services: Map<string, readonly ServicePortRules[]>;
  readonly claims: ElementClaims;
  readonly slots: SlotAllocator;
}

export const NFT_FAMILY: Record<IpFamily, Family> = { IPv4: 'ip', IPv6: 'ip6' };

/** A table without services. */
export function emptyRuleSet(family: IpFamily, options: NodeRenderOptions, slots: SlotAllocator): RuleSet {
  const nft = NFT_FAMILY[family];
  return {
    family: nft,
    sharedChains: buildSharedChains(nft, options),
    sets: [ENDPOINTS, ...SHARED_SETS, ...(options.nodePortAddresses ? [NODEPORT_IPS] : [])],
    nodePortIps: (options.nodePortAddresses ?? []).map((address) => ({ key: [address] })),
    services: new Map(),
    claims: new ElementClaims(),
    slots,
  };
}

export function renderService(
  { ports }: ServiceState,
  options: NodeRenderOptions,
  slots: SlotAllocator,
): readonly ServicePortRules[] {
  return ports.map((port) => renderServicePort(port, options, slots));
}

/** The whole table of a snapshot, in steps of a service. */
export function* renderRuleSetSteps(
  snapshot: ProxySnapshot,
  options: NodeRenderOptions,
  slots: SlotAllocator = createSlotAllocator(),
): Generator<void, RuleSet> {
  const ruleSet = emptyRuleSet(snapshot.family, options, slots);
  for (const [name, state] of snapshot.services) {
    const ports = renderService(state, options, slots);
    ruleSet.services.set(name, ports);
    for (const port of ports) ruleSet.claims.add(port);
    yield;
  }
  ruleSet.claims.takeChanges();
  return ruleSet;
}

/** The elements of the map of endpoints that a range stands for. */
export function* rangeElements({ first, endpoints }: EndpointRange): Generator<SetElement, void> {
  for (const [index, { ip, port }] of endpoints.entries()) yield { key: [first + index], data: [ip, port] };
}

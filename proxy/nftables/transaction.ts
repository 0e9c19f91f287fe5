import type { NftBatch } from '../../src/netfilter/nfnetlink/batch.ts';
import type { Chain } from '../../src/netfilter/nfnetlink/rule.ts';
import { ruleText } from '../../src/netfilter/nfnetlink/rule-text.ts';
import type { SetDefinition, SetElement } from '../../src/netfilter/nfnetlink/set.ts';
import type { ElementChanges } from './claims.ts';
import { TABLE_COMMENT } from './names.ts';
import { type RuleSet, rangeElements } from './rule-set.ts';
import type { EndpointRange, ServicePortRules } from './service-rules.ts';
import { ENDPOINTS, NODEPORT_IPS } from './sets.ts';

/** Writes the whole table, in the place of one that may be there, in steps of a service. */
export function* buildFullSteps(ruleSet: RuleSet, batch: NftBatch, replaces: boolean): Generator<void, void> {
  if (replaces) batch.deleteTable();
  batch.addTable(TABLE_COMMENT);
  for (const set of ruleSet.sets) batch.addSet(set);
  for (const chain of ruleSet.sharedChains) batch.addChain(chain);
  for (const ports of ruleSet.services.values()) {
    for (const { affinitySets, chains } of ports) {
      for (const set of affinitySets) batch.addSet(set);
      for (const chain of chains) batch.addChain(chain);
      for (const chain of chains) addRules(batch, chain);
    }
    yield;
  }
  for (const chain of ruleSet.sharedChains) addRules(batch, chain);
  yield;
  yield* addElementsInSteps(batch, ENDPOINTS, endpointsOf(ruleSet));
  batch.addElements(NODEPORT_IPS, ruleSet.nodePortIps);
  for (const [set, elements] of standingBySet(ruleSet)) yield* addElementsInSteps(batch, set, elements);
}

const ELEMENTS_A_STEP = 1000;

/** As many to a step as make one message. */
export function* addElementsInSteps(
  batch: NftBatch,
  set: SetDefinition,
  elements: Iterable<SetElement>,
): Generator<void, void> {
  let some: SetElement[] = [];
  for (const element of elements) {
    some.push(element);
    if (some.length < ELEMENTS_A_STEP) continue;
    batch.addElements(set, some);
    some = [];
    yield;
  }
  batch.addElements(set, some);
}

export function* endpointsOf(ruleSet: RuleSet): Generator<SetElement, void> {
  for (const ports of ruleSet.services.values())
    for (const { ranges } of ports) for (const range of ranges) yield* rangeElements(range);
}

export function standingBySet(ruleSet: RuleSet): Map<SetDefinition, SetElement[]> {
  const bySet = new Map<SetDefinition, SetElement[]>();
  for (const { set, element } of ruleSet.claims.standing()) {
    const known = bySet.get(set);
    if (known) known.push(element);
    else bySet.set(set, [element]);
  }
  return bySet;
}

export function addRules(batch: NftBatch, { name, rules }: Chain): void {
  for (const rule of rules) batch.addRule(name, rule);
}

/** Ports of the services that changed, as they stand in the kernel and as they are to be. */
export interface PortChanges {
  readonly before: readonly ServicePortRules[];
  readonly after: readonly ServicePortRules[];
}

/**
 * Writes what differs between two forms of some services; the cost is theirs, whatever stands beside them. What leads to
 * a chain goes before it and comes after it, so that no step of the transaction refers to what is not there.
 */
export function* writeChangesSteps(
  batch: NftBatch,
  ruleSet: RuleSet,
  ports: PortChanges,
  elements: ElementChanges,
): Generator<void, void> {
  const { family } = ruleSet;
  const textOf = ({ rules }: Chain) => rules.map((rule) => ruleText(rule, family)).join('\n');
  const before = byName(ports.before.flatMap(({ chains }) => chains));
  const after = byName(ports.after.flatMap(({ chains }) => chains));
  const setsBefore = byName(ports.before.flatMap(({ affinitySets }) => affinitySets));
  const setsAfter = byName(ports.after.flatMap(({ affinitySets }) => affinitySets));
  const goneSets = [...setsBefore.values()].filter((set) => !isSameSet(set, setsAfter.get(set.name)));
  const newSets = [...setsAfter.values()].filter((set) => !isSameSet(set, setsBefore.get(set.name)));
  const renewedSets = new Set([...goneSets, ...newSets].map(({ name }) => name));
  const isStale = (chain: Chain, other: Chain | undefined) =>
    other === undefined || textOf(chain) !== textOf(other) || usesAny(chain, renewedSets);
  const gone = [...before.values()].filter(({ name }) => !after.has(name));
  const stale = [...before.values()].filter((chain) => isStale(chain, after.get(chain.name)));
  const fresh = [...after.values()].filter((chain) => isStale(chain, before.get(chain.name)));
  const slots = diffRanges(ports);

  yield;
  for (const [set, removed] of elements.removed) batch.deleteElements(set, removed);
  batch.deleteElements(ENDPOINTS, slots.removed);
  for (const { name } of stale) batch.flushChain(name);
  yield;
  for (const { name } of goneSets) batch.deleteSet(name);
  for (const set of newSets) batch.addSet(set);
  for (const chain of fresh) if (!before.has(chain.name)) batch.addChain(chain);
  for (const chain of fresh) {
    addRules(batch, chain);
    yield;
  }
  yield* addElementsInSteps(batch, ENDPOINTS, slots.added);
  for (const [set, added] of elements.added) yield* addElementsInSteps(batch, set, added);
  for (const { name } of gone.reverse()) batch.deleteChain(name);
}

function byName<T extends { readonly name: string }>(all: readonly T[]): Map<string, T> {
  return new Map(all.map((one) => [one.name, one]));
}

function isSameSet(set: SetDefinition, other: SetDefinition | undefined): boolean {
  return other !== undefined && set.dynamic?.timeoutSeconds === other.dynamic?.timeoutSeconds;
}

function usesAny({ rules }: Chain, sets: ReadonlySet<string>): boolean {
  return sets.size > 0 && rules.some(({ statements }) => statements.some((one) => 'set' in one && sets.has(one.set)));
}

/** Slots whose endpoint is another one, or none any more. */
function diffRanges({ before, after }: PortChanges): { removed: SetElement[]; added: SetElement[] } {
  const old = slotsOf(before);
  const wanted = slotsOf(after);
  const isSame = (a: Slot | undefined, b: Slot | undefined) =>
    a !== undefined && b !== undefined && a.address === b.address;
  return {
    removed: [...old]
      .filter(([slot, endpoint]) => !isSame(endpoint, wanted.get(slot)))
      .map(([slot]) => ({ key: [slot] })),
    added: [...wanted]
      .filter(([slot, endpoint]) => !isSame(endpoint, old.get(slot)))
      .map(([slot, { ip, port }]) => ({ key: [slot], data: [ip, port] })),
  };
}

type Slot = EndpointRange['endpoints'][number];

function slotsOf(ports: readonly ServicePortRules[]): Map<number, Slot> {
  const slots = new Map<number, Slot>();
  for (const { ranges } of ports)
    for (const { first, endpoints } of ranges)
      for (const [index, endpoint] of endpoints.entries()) slots.set(first + index, endpoint);
  return slots;
}

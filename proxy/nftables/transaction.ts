import type { NftBatch } from '../../src/netfilter/nfnetlink/batch.ts';
import type { Chain } from '../../src/netfilter/nfnetlink/rule.ts';
import { ruleText } from '../../src/netfilter/nfnetlink/rule-text.ts';
import type { SetDefinition, SetElement } from '../../src/netfilter/nfnetlink/set.ts';
import { TABLE_COMMENT } from './names.ts';
import { affinitySetsOf, chainsOf, elementsOf, type RuleSet, type RuleSetChanges } from './rule-set.ts';

const CHAINS_A_STEP = 100;
const ELEMENTS_A_STEP = 1000;

/** Writes the whole table, in the place of one that may be there, in steps. */
export function* buildFullSteps(ruleSet: RuleSet, batch: NftBatch, replaces: boolean): Generator<void, void> {
  if (replaces) batch.deleteTable();
  batch.addTable(TABLE_COMMENT);
  for (const set of ruleSet.sets) batch.addSet(set);
  for (const set of affinitySetsOf(ruleSet)) batch.addSet(set);
  let count = 0;
  for (const chain of chainsOf(ruleSet)) {
    batch.addChain(chain);
    if (++count % CHAINS_A_STEP === 0) yield;
  }
  // Rules before elements: a rule that asks a map makes the kernel look at all that the map holds already.
  for (const chain of chainsOf(ruleSet)) {
    addRules(batch, chain);
    if (++count % CHAINS_A_STEP === 0) yield;
  }
  const collected = new Map<SetDefinition, SetElement[]>();
  for (const { set, element } of elementsOf(ruleSet)) {
    const some = collected.get(set) ?? [];
    if (some.length === 0) collected.set(set, some);
    some.push(element);
    if (some.length < ELEMENTS_A_STEP) continue;
    batch.addElements(set, some);
    collected.delete(set);
    yield;
  }
  for (const [set, some] of collected) batch.addElements(set, some);
}

/** In steps of about a message. */
export function* addElementsInSteps(
  batch: NftBatch,
  set: SetDefinition,
  elements: readonly SetElement[],
): Generator<void, void> {
  for (let start = 0; start < elements.length; start += ELEMENTS_A_STEP) {
    batch.addElements(set, elements.slice(start, start + ELEMENTS_A_STEP));
    yield;
  }
}

export function addRules(batch: NftBatch, { name, rules }: Chain): void {
  for (const rule of rules) batch.addRule(name, rule);
}

/**
 * Writes what differs between two forms of some services. What leads to a chain goes before it and comes after it, so
 * that no step of the transaction refers to what is not there.
 */
export function* writeChangesSteps(
  batch: NftBatch,
  { family }: RuleSet,
  { before, after, elements }: RuleSetChanges,
): Generator<void, void> {
  const textOf = ({ rules }: Chain) => rules.map((rule) => ruleText(rule, family)).join('\n');
  const chainsBefore = byName(before.chains);
  const chainsAfter = byName(after.chains);
  const setsBefore = byName(before.affinitySets);
  const setsAfter = byName(after.affinitySets);
  const goneSets = [...setsBefore.values()].filter((set) => !isSameSet(set, setsAfter.get(set.name)));
  const newSets = [...setsAfter.values()].filter((set) => !isSameSet(set, setsBefore.get(set.name)));
  const renewedSets = new Set([...goneSets, ...newSets].map(({ name }) => name));
  const isStale = (chain: Chain, other: Chain | undefined) =>
    other === undefined || textOf(chain) !== textOf(other) || usesAny(chain, renewedSets);
  const stale = [...chainsBefore.values()].filter((chain) => isStale(chain, chainsAfter.get(chain.name)));
  const fresh = [...chainsAfter.values()].filter((chain) => isStale(chain, chainsBefore.get(chain.name)));
  yield;
  for (const [set, removed] of elements.removed) batch.deleteElements(set, removed);
  for (const { name } of stale) batch.flushChain(name);
  yield;
  for (const { name } of goneSets) batch.deleteSet(name);
  for (const set of newSets) batch.addSet(set);
  for (const chain of fresh) if (!chainsBefore.has(chain.name)) batch.addChain(chain);
  for (const chain of fresh) {
    addRules(batch, chain);
    yield;
  }
  for (const [set, added] of elements.added) yield* addElementsInSteps(batch, set, added);
  for (const { name } of stale) if (!chainsAfter.has(name)) batch.deleteChain(name);
}

function byName<T extends { readonly name: string }>(all: readonly T[]): Map<string, T> {
  return new Map(all.map((one) => [one.name, one]));
}

function isSameSet(set: SetDefinition, other: SetDefinition | undefined): boolean {
  return other !== undefined && set.dynamic?.timeoutSeconds === other.dynamic?.timeoutSeconds;
}

/** Whether a chain asks or fills one of these sets. */
export function usesAny({ rules }: Chain, sets: ReadonlySet<string>): boolean {
  return sets.size > 0 && rules.some(({ statements }) => statements.some((one) => 'set' in one && sets.has(one.set)));
}

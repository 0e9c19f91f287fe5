import type { NftBatch } from '../../src/netfilter/nfnetlink/batch.ts';
import { baseChainFacts, elementFacts, hasRules, setFacts } from '../../src/netfilter/nfnetlink/comparison.ts';
import type { Chain } from '../../src/netfilter/nfnetlink/rule.ts';
import type { SetDefinition, SetElement } from '../../src/netfilter/nfnetlink/set.ts';
import type { KernelTable } from '../../src/netfilter/nfnetlink/table.ts';
import { affinitySetsOf, chainsOf, elementsOf, type RuleSet } from './rule-set.ts';
import { addElementsInSteps, addRules, usesAny } from './transaction.ts';

/** A table as it was found, with the elements of the shared sets by set name: key → data. */
export interface FoundTable extends KernelTable {
  elements: ReadonlyMap<string, Map<string, string>>;
}

/**
 * Whether hooks and shared sets are ours as they are now. If not (another version wrote them, or another proxy), the table
 * is written anew; that costs clients their session affinity, and nothing else: translated connections don't come here.
 */
export function hasSameFrame(found: KernelTable, wanted: RuleSet): boolean {
  return (
    wanted.sets.every((set) => found.sets.get(set.name) === setFacts(set, wanted.family)) &&
    wanted.sharedChains.every(({ name, base }) => (found.chains.get(name) ?? '') === baseChainFacts(base))
  );
}

/**
 * Writes what differs between the kernel's table and the one that is wanted, in steps: chains that were changed, emptied or added,
 * elements that are missing, wrong or nobody's. What stands as it should is not touched, with the memory of session affinity.
 */
export function* writeRepairSteps(batch: NftBatch, found: FoundTable, wanted: RuleSet): Generator<void, void> {
  const { family } = wanted;
  const sets = [...wanted.sets, ...affinitySetsOf(wanted)];
  const isStanding = (set: SetDefinition) => found.sets.get(set.name) === setFacts(set, family);
  const newSets = sets.filter((set) => !isStanding(set));
  const kept = new Set(sets.filter(isStanding).map(({ name }) => name));
  // Sets without a name of their own belong to a rule and go with it.
  const goneSets = [...found.sets.keys()].filter((name) => !kept.has(name) && !name.startsWith('__'));
  const renewed = new Set(goneSets);
  const wantedChains = new Set<string>();
  const fresh: Chain[] = [];
  for (const chain of chainsOf(wanted)) {
    wantedChains.add(chain.name);
    const isRight = hasRules(found.rules.get(chain.name), chain.rules, family);
    if (!found.chains.has(chain.name) || !isRight || usesAny(chain, renewed)) fresh.push(chain);
    yield;
  }
  const goneChains = [...found.chains.keys()].filter((name) => !wantedChains.has(name));
  const elements = yield* diffElements(found, wanted);

  for (const [set, keys] of elements.removed) batch.deleteKeys(set, keys);
  for (const name of [...fresh.map((chain) => chain.name), ...goneChains])
    if (found.rules.has(name)) batch.flushChain(name);
  for (const name of goneSets) batch.deleteSet(name);
  for (const set of newSets) batch.addSet(set);
  for (const chain of fresh) if (!found.chains.has(chain.name)) batch.addChain(chain);
  for (const chain of fresh) {
    addRules(batch, chain);
    yield;
  }
  for (const [set, added] of elements.added) yield* addElementsInSteps(batch, set, added);
  for (const name of goneChains) batch.deleteChain(name);
}

interface ElementRepair {
  /** By set name, keys as the kernel gave them. */
  removed: Map<string, string[]>;
  added: Map<SetDefinition, SetElement[]>;
}

function* diffElements(found: FoundTable, wanted: RuleSet): Generator<void, ElementRepair> {
  const added = new Map<SetDefinition, SetElement[]>();
  const removed = new Map<string, string[]>();
  /** What is left of it in the end is nobody's. */
  const left = found.elements;
  let count = 0;
  for (const { set, element } of elementsOf(wanted)) {
    const standing = left.get(set.name);
    const { key, data } = elementFacts(element, set, wanted.family);
    const known = standing?.get(key);
    standing?.delete(key);
    if (known !== data) append(added, set, element);
    if (known !== undefined && known !== data) append(removed, set.name, key);
    if (++count % ELEMENTS_A_STEP === 0) yield;
  }
  for (const [set, standing] of left) for (const key of standing.keys()) append(removed, set, key);
  return { removed, added };
}

function append<K, V>(lists: Map<K, V[]>, key: K, value: V): void {
  const known = lists.get(key);
  if (known) known.push(value);
  else lists.set(key, [value]);
}

const ELEMENTS_A_STEP = 500;

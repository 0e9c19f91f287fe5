import type { NftBatch } from '../../src/netfilter/nfnetlink/batch.ts';
import {
  baseChainFacts,
  drawnSlots,
  elementFacts,
  hasRules,
  setFacts,
} from '../../src/netfilter/nfnetlink/comparison.ts';
import type { Chain } from '../../src/netfilter/nfnetlink/rule.ts';
import type { SetDefinition, SetElement } from '../../src/netfilter/nfnetlink/set.ts';
import type { KernelTable } from '../../src/netfilter/nfnetlink/table.ts';
import type { RuleSet } from './rule-set.ts';
import { ENDPOINTS, NODEPORT_IPS } from './sets.ts';
import type { SlotAllocator } from './slots.ts';
import { addElementsInSteps, addRules, endpointsOf, standingBySet } from './transaction.ts';

/** A table as it was found, with the elements of the shared sets by set name: key → data. */
export interface FoundTable extends KernelTable {
  elements: ReadonlyMap<string, Map<string, string>>;
}

/** Keeps the slots that the kernel's rules name, so that a restart with unchanged services has nothing to write. */
export function adoptSlots({ rules }: KernelTable, slots: SlotAllocator): void {
  for (const [chain, standing] of rules) {
    const drawn = drawnSlots(standing);
    if (drawn) slots.adopt(chain, drawn.first, drawn.count);
  }
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
  const ports = [...wanted.services.values()].flat();
  const chains = new Map(
    [...ports.flatMap((port) => port.chains), ...wanted.sharedChains].map((one) => [one.name, one]),
  );
  const affinitySets = ports.flatMap((port) => port.affinitySets);
  const isStanding = (set: SetDefinition) => found.sets.get(set.name) === setFacts(set, family);
  const newSets = [...wanted.sets, ...affinitySets].filter((set) => !isStanding(set));
  const wantedSets = new Set([...wanted.sets, ...affinitySets].filter(isStanding).map(({ name }) => name));
  // Sets without a name of their own belong to a rule and go with it.
  const goneSets = [...found.sets.keys()].filter((name) => !wantedSets.has(name) && !name.startsWith('__'));
  const renewed = new Set(goneSets);
  const fresh: Chain[] = [];
  for (const chain of chains.values()) {
    const isRight = hasRules(found.rules.get(chain.name), chain.rules, family);
    if (!found.chains.has(chain.name) || !isRight || usesAny(chain, renewed)) fresh.push(chain);
    yield;
  }
  const goneChains = [...found.chains.keys()].filter((name) => !chains.has(name));
  const elements = yield* diffElements(found, wanted);

  for (const [set, keys] of elements.removed) batch.deleteKeys(set, keys);
  for (const { name } of fresh) if (found.rules.has(name)) batch.flushChain(name);
  for (const name of goneChains) if (found.rules.has(name)) batch.flushChain(name);
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

function usesAny({ rules }: Chain, sets: ReadonlySet<string>): boolean {
  return sets.size > 0 && rules.some(({ statements }) => statements.some((one) => 'set' in one && sets.has(one.set)));
}

interface ElementRepair {
  /** By set name, keys as the kernel gave them. */
  removed: Map<string, string[]>;
  added: Map<SetDefinition, SetElement[]>;
}

function* diffElements(found: FoundTable, wanted: RuleSet): Generator<void, ElementRepair> {
  const repair: ElementRepair = { removed: new Map(), added: new Map() };
  const standing = standingBySet(wanted);
  for (const set of wanted.sets) {
    // What is left of it in the end is nobody's.
    const left = new Map(found.elements.get(set.name));
    const removed: string[] = [];
    const added: SetElement[] = [];
    const elements =
      set === ENDPOINTS ? endpointsOf(wanted) : set === NODEPORT_IPS ? wanted.nodePortIps : (standing.get(set) ?? []);
    let count = 0;
    for (const element of elements) {
      const { key, data } = elementFacts(element, set, wanted.family);
      const known = left.get(key);
      left.delete(key);
      if (known !== data) added.push(element);
      if (known !== undefined && known !== data) removed.push(key);
      if (++count % ELEMENTS_A_STEP === 0) yield;
    }
    removed.push(...left.keys());
    if (removed.length > 0) repair.removed.set(set.name, removed);
    if (added.length > 0) repair.added.set(set, added);
  }
  return repair;
}

const ELEMENTS_A_STEP = 500;

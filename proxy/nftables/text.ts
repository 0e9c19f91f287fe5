import { chainText } from '../../src/netfilter/nfnetlink/rule-text.ts';
import { type SetDefinition, type SetElement, setText } from '../../src/netfilter/nfnetlink/set.ts';
import { TABLE, TABLE_COMMENT } from './names.ts';
import { affinitySetsOf, chainsOf, elementsOf, type RuleSet } from './rule-set.ts';

/** The table as `nft list table` prints it and `nft -f` takes it: for people, tracers and golden texts. */
export function ruleSetText(ruleSet: RuleSet): string {
  const { family } = ruleSet;
  const elements = new Map<SetDefinition, SetElement[]>();
  for (const { set, element } of elementsOf(ruleSet)) {
    const known = elements.get(set);
    if (known) known.push(element);
    else elements.set(set, [element]);
  }
  const parts = [
    ...[...ruleSet.sets, ...[...affinitySetsOf(ruleSet)].sort(byName)].map((set) =>
      setText(set, sortedByKey(elements.get(set) ?? []), family),
    ),
    ...[...chainsOf(ruleSet)].sort(byName).map((chain) => chainText(chain, family)),
  ];
  const body = parts.map((part) => part.replaceAll(/^(?=.)/gm, '\t')).join('\n');
  return `table ${family} ${TABLE} {\n\tcomment "${TABLE_COMMENT}"\n\n${body}}\n`;
}

/** The kernel has them in the order in which they came; a text that can be compared needs one of its own. */
function byName(a: { name: string }, b: { name: string }): number {
  return a.name < b.name ? -1 : 1;
}

function sortedByKey(elements: readonly SetElement[]): SetElement[] {
  const keyed = elements.map((element) => ({ name: element.key.join(' . '), element }));
  return keyed.sort(byName).map(({ element }) => element);
}

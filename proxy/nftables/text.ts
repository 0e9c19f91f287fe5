import { chainText } from '../../src/netfilter/nfnetlink/rule-text.ts';
import { type SetDefinition, type SetElement, setText } from '../../src/netfilter/nfnetlink/set.ts';
import { TABLE, TABLE_COMMENT } from './names.ts';
import { type RuleSet, rangeElements } from './rule-set.ts';
import { ENDPOINTS, NODEPORT_IPS } from './sets.ts';

/** The table as `nft list table` prints it and `nft -f` takes it: for people, tracers and golden texts. */
export function ruleSetText(ruleSet: RuleSet): string {
  const { family } = ruleSet;
  const ports = [...ruleSet.services.values()].flat();
  const elements = elementsBySet(ruleSet);
  const parts = [
    ...[...ruleSet.sets, ...ports.flatMap(({ affinitySets }) => affinitySets)].map((set) =>
      setText(set, elements.get(set) ?? [], family),
    ),
    ...[...ruleSet.sharedChains, ...ports.flatMap(({ chains }) => chains)].map((chain) => chainText(chain, family)),
  ];
  const body = parts.map((part) => part.replaceAll(/^(?=.)/gm, '\t')).join('\n');
  return `table ${family} ${TABLE} {\n\tcomment "${TABLE_COMMENT}"\n\n${body}}\n`;
}

/** In the order of their keys, so that equal tables give equal texts. */
function elementsBySet(ruleSet: RuleSet): Map<SetDefinition, SetElement[]> {
  const elements = new Map<SetDefinition, SetElement[]>([
    [NODEPORT_IPS, [...ruleSet.nodePortIps]],
    [
      ENDPOINTS,
      [...ruleSet.services.values()].flatMap((ports) =>
        ports.flatMap(({ ranges }) => ranges.flatMap((range) => [...rangeElements(range)])),
      ),
    ],
  ]);
  for (const { set, element } of ruleSet.claims.standing()) {
    const known = elements.get(set);
    if (known) known.push(element);
    else elements.set(set, [element]);
  }
  for (const [set, list] of elements) if (set !== ENDPOINTS) list.sort((a, b) => (sortKey(a) < sortKey(b) ? -1 : 1));
  return elements;
}

function sortKey({ key }: SetElement): string {
  return key.join(' . ');
}

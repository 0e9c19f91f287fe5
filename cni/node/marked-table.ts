/** nftables tables whose chains are all ours: written as one transaction, and recognized in the kernel without comparing spellings. */
import { createHash } from 'node:crypto';
import type { NftObject } from '../../src/netfilter/nft.ts';

export interface MarkedChain {
  name: string;
  type: 'filter' | 'nat';
  hook: 'input' | 'forward' | 'output' | 'postrouting';
  priority: number;
  rules: { text: string; comment: string }[];
}

/** A rule whose comment ends in a digest of its text: by it the kernel's rule is recognized, in whatever spelling nft lists it. */
export function markedRule(text: string, purpose: string): MarkedChain['rules'][number] {
  const digest = createHash('sha256').update(text).digest('hex').slice(0, 8);
  return { text, comment: `${purpose} ${digest}` };
}

/** One transaction that puts exactly these chains in place of whatever the table holds. */
export function renderMarkedTable(
  { family, name }: { family: string; name: string },
  chains: readonly MarkedChain[],
): string {
  const body = chains.map(
    (chain) =>
      `  chain ${chain.name} {\n` +
      `    type ${chain.type} hook ${chain.hook} priority ${chain.priority}; policy accept;\n` +
      chain.rules.map(({ text, comment }) => `    ${text} comment "${comment}"\n`).join('') +
      '  }\n',
  );
  return `${renderTableRemoval({ family, name })}table ${family} ${name} {\n${body.join('')}}\n`;
}

/** Takes a table away, whether it is there or not. */
export function renderTableRemoval({ family, name }: { family: string; name: string }): string {
  return `add table ${family} ${name}\ndelete table ${family} ${name}\n`;
}

/** Whether the kernel's table (as `nft -j list table` shows it) holds exactly these chains and rules, in order. */
export function isMarkedTableInPlace(chains: readonly MarkedChain[], objects: readonly NftObject[]): boolean {
  const want = chains.map((chain) =>
    describe(
      chain,
      chain.rules.map(({ comment }) => comment),
    ),
  );
  const have = objects.flatMap(({ chain }) =>
    chain
      ? describe(
          { name: chain.name, type: chain.type, hook: chain.hook, priority: chain.prio },
          objects.flatMap((object) => (object.rule?.chain === chain.name ? [String(object.rule?.comment)] : [])),
        )
      : [],
  );
  return JSON.stringify(want) === JSON.stringify(have);
}

function describe(
  chain: { name: unknown; type: unknown; hook: unknown; priority: unknown },
  comments: string[],
): string {
  return [chain.name, chain.type, chain.hook, chain.priority, ...comments].join('|');
}

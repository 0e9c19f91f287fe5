/**
 * Pods' packets pass the iptables filter table's FORWARD chain, also between two pods of one bridge, and a distribution's
 * Docker gives that chain the policy DROP. An accept in a table of our own could not overrule that, so we have a chain there:
 *
 *     FORWARD: … KUBE-* jumps (they reject what has no endpoint) … BERTH-FORWARD … others'
 */
import { canonicalRule } from '../../src/netfilter/rule.ts';
import type { SavedTable } from '../../src/netfilter/tables.ts';
import { buildChainRemoval, type IptablesTransaction, targetOf } from '../../src/netfilter/transaction.ts';

export const FORWARD_CHAIN = 'BERTH-FORWARD';

/** A chain of FORWARD that lets the pods' packets through. */
export interface ForwardChain {
  name: string;
  jump: string;
  rules: readonly string[];
}

export function nodeForwardChain(clusterCidr: string): ForwardChain {
  return {
    name: FORWARD_CHAIN,
    jump: `-m comment --comment "berth pod network" -j ${FORWARD_CHAIN}`,
    rules: [`-s ${clusterCidr} -j ACCEPT`, `-d ${clusterCidr} -j ACCEPT`],
  };
}

/**
 * The changes of the filter table that make pod traffic pass; empty when all is there. Where the jump stands is
 * decided once: others may put theirs before it later without a quarrel about the first place.
 */
export function buildForwardTransaction(saved: SavedTable | undefined, chain: ForwardChain): IptablesTransaction {
  const { name, jump, rules: want } = chain;
  const forward = saved?.get('FORWARD')?.rules ?? [];
  const have = saved?.get(name)?.rules;
  const chainIsRight = have && have.map(canonicalRule).join('\n') === want.map(canonicalRule).join('\n');
  const jumps = forward.filter((rule) => targetOf(rule) === name);
  const jumpIsRight = jumps.length === 1 && canonicalRule(jumps[0]!) === canonicalRule(jump);
  return [
    {
      table: 'filter',
      chains: chainIsRight ? [] : [name],
      commands: [
        ...(chainIsRight ? [] : want.map((rule) => `-A ${name} ${rule}`)),
        ...(jumpIsRight
          ? []
          : [
              ...jumps.map((rule) => `-D FORWARD ${rule}`),
              `-I FORWARD ${positionBehindProxy(forward.filter((rule) => targetOf(rule) !== name))} ${jump}`,
            ]),
      ],
    },
  ];
}

/** 1-based place behind the last jump into a chain of the service proxy. */
function positionBehindProxy(forward: readonly string[]): number {
  return forward.findLastIndex((rule) => targetOf(rule)?.startsWith('KUBE-')) + 2;
}

/** The changes that take our chain and the jump to it away; empty when neither is there. */
export function buildForwardRemoval(saved: SavedTable | undefined, name = FORWARD_CHAIN): IptablesTransaction {
  return saved ? [buildChainRemoval('filter', saved, (chain) => chain === name)] : [];
}

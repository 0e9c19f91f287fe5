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

const JUMP = `-m comment --comment "berth pod network" -j ${FORWARD_CHAIN}`;

function rulesOf(clusterCidr: string): string[] {
  return [`-s ${clusterCidr} -j ACCEPT`, `-d ${clusterCidr} -j ACCEPT`];
}

/**
 * The changes of the filter table that make pod traffic pass; empty when all is there. Where the jump stands is
 * decided once: others may put theirs before it later without a quarrel about the first place.
 */
export function buildForwardTransaction(saved: SavedTable | undefined, clusterCidr: string): IptablesTransaction {
  const forward = saved?.get('FORWARD')?.rules ?? [];
  const want = rulesOf(clusterCidr);
  const have = saved?.get(FORWARD_CHAIN)?.rules;
  const chainIsRight = have && have.map(canonicalRule).join('\n') === want.map(canonicalRule).join('\n');
  const jumps = forward.filter((rule) => targetOf(rule) === FORWARD_CHAIN);
  const jumpIsRight = jumps.length === 1 && canonicalRule(jumps[0]!) === canonicalRule(JUMP);
  return [
    {
      table: 'filter',
      chains: chainIsRight ? [] : [FORWARD_CHAIN],
      commands: [
        ...(chainIsRight ? [] : want.map((rule) => `-A ${FORWARD_CHAIN} ${rule}`)),
        ...(jumpIsRight
          ? []
          : [
              ...jumps.map((rule) => `-D FORWARD ${rule}`),
              `-I FORWARD ${positionBehindProxy(forward.filter((rule) => targetOf(rule) !== FORWARD_CHAIN))} ${JUMP}`,
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
export function buildForwardRemoval(saved: SavedTable | undefined): IptablesTransaction {
  return saved ? [buildChainRemoval('filter', saved, (chain) => chain === FORWARD_CHAIN)] : [];
}

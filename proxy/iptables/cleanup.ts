import type { Iptables } from '../../src/netfilter/iptables.ts';
import type { SavedTables } from '../../src/netfilter/tables.ts';
import { buildChainRemoval, type IptablesTransaction } from '../../src/netfilter/transaction.ts';
import { CHAIN, isServiceChain, KUBELET_CANARY } from './names.ts';

/** Removes the jumps and all chains of the proxy from one family's tables, in one transaction. Idempotent. */
export async function removeProxyRules(iptables: Iptables, signal?: AbortSignal): Promise<void> {
  await iptables.restore(buildProxyRemoval(await iptables.save(undefined, signal)), signal);
}

/** KUBE-FIREWALL stays where a kubelet is at home, which writes it too. */
export function buildProxyRemoval(saved: SavedTables): IptablesTransaction {
  const hasKubelet = [...saved.values()].some((chains) => chains.has(KUBELET_CANARY));
  const shared = new Set<string>(Object.values(CHAIN));
  if (hasKubelet) shared.delete(CHAIN.firewall);
  const isOwn = (chain: string) => shared.has(chain) || isServiceChain(chain);
  return (['filter', 'nat', 'mangle'] as const).map((table) =>
    buildChainRemoval(table, saved.get(table) ?? new Map(), isOwn),
  );
}

import type { Iptables } from '../../src/netfilter/iptables.ts';
import type { SavedTables } from '../../src/netfilter/tables.ts';
import type { IptablesTransaction } from '../../src/netfilter/transaction.ts';
import { buildModeRemoval } from '../chain-removal.ts';
import { JUMPS as IPVS_JUMPS } from '../ipvs/chains.ts';
import type { ModeName } from '../mode.ts';
import { FIREWALL_JUMPS, JUMPS } from './jumps.ts';
import { CHAIN, isServiceChain, KUBELET_CANARY } from './names.ts';
import { cutRemoval } from './sections.ts';

/** Removes the jumps and all chains of the proxy from one family's tables, in one run of iptables-restore. Idempotent. */
export async function removeProxyRules(iptables: Iptables, signal?: AbortSignal, successor?: ModeName): Promise<void> {
  const removal = buildProxyRemoval(await iptables.save(undefined, signal), successor);
  const isOneTransaction = (await iptables.variant(signal)) === 'legacy';
  await iptables.restore(isOneTransaction ? removal : removal.flatMap(cutRemoval), signal);
}

/** KUBE-FIREWALL stays where a kubelet is at home, which writes it too; and what mode ipvs fills, where that has taken over. */
export function buildProxyRemoval(saved: SavedTables, successor?: ModeName): IptablesTransaction {
  const hasKubelet = [...saved.values()].some((chains) => chains.has(KUBELET_CANARY));
  const shared = new Set<string>(Object.values(CHAIN));
  if (hasKubelet) shared.delete(CHAIN.firewall);
  const isOwn = (chain: string) => shared.has(chain) || isServiceChain(chain);
  return (['filter', 'nat', 'mangle'] as const).map((table) =>
    buildModeRemoval({
      table,
      saved: saved.get(table) ?? new Map(),
      isOwn,
      jumps: hasKubelet ? JUMPS : [...JUMPS, ...FIREWALL_JUMPS],
      successorJumps: successor === 'ipvs' ? IPVS_JUMPS : undefined,
    }),
  );
}

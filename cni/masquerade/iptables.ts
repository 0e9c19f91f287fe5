/*
 * Masquerading by iptables' nat table, a chain a container (both families have chains of the same name):
 *
 *     POSTROUTING    -s <container> -j CNI-<hash>
 *     CNI-<hash>     -d <its subnet> -j ACCEPT;  ! -d <multicast> -j MASQUERADE
 */
import { formatIp, formatPrefix, networkOf, parsePrefix } from '../../src/linux/ip.ts';
import type { SavedTable } from '../../src/netfilter/tables.ts';
import { buildChainRemoval, type TableChanges, targetOf } from '../../src/netfilter/transaction.ts';
import { cniChainName } from '../hash-name.ts';
import { iptablesComment, parseIptablesComment } from './identity.ts';

/**
 * The changes that masquerade what a container sends out of its subnets, with what an earlier ADD left of it taken away in the same
 * transaction. Pure.
 * @param addresses with prefix length, of the table's family
 * @param saved the nat table as it is
 */
export function buildMasquerade(
  network: string,
  containerId: string,
  addresses: readonly string[],
  saved: SavedTable,
): TableChanges {
  const chain = cniChainName(network, containerId);
  const comment = `-m comment --comment "${iptablesComment(network, containerId).replaceAll('"', '\\"')}"`;
  const stale = [...saved].flatMap(([name, { rules }]) =>
    name === chain ? [] : rules.filter((rule) => targetOf(rule) === chain).map((rule) => `-D ${name} ${rule}`),
  );
  const commands = addresses.flatMap((text) => {
    const prefix = parsePrefix(text);
    const multicast = prefix.family === 4 ? '224.0.0.0/4' : 'ff00::/8';
    return [
      `-A ${chain} -d ${formatPrefix(networkOf(prefix))} ${comment} -j ACCEPT`,
      `-A ${chain} ! -d ${multicast} ${comment} -j MASQUERADE`,
      `-A POSTROUTING -s ${formatIp(prefix.address)} ${comment} -j ${chain}`,
    ];
  });
  return { table: 'nat', chains: [chain], commands: [...stale, ...commands] };
}

/** Whether an address of the container is led into its chain, and that masquerades. Pure. */
export function isMasqueraded(network: string, containerId: string, address: string, saved: SavedTable): boolean {
  const chain = cniChainName(network, containerId);
  const source = `-s ${formatIp(parsePrefix(address).address)}`;
  const entries = saved.get('POSTROUTING')?.rules ?? [];
  return (
    entries.some((rule) => targetOf(rule) === chain && rule.includes(source)) &&
    (saved.get(chain)?.rules ?? []).some((rule) => targetOf(rule) === 'MASQUERADE')
  );
}

/** The changes that take a container's chain and the jumps to it away; nothing when it has none. Pure. */
export function buildMasqueradeRemoval(network: string, containerId: string, saved: SavedTable): TableChanges {
  const own = cniChainName(network, containerId);
  return buildChainRemoval('nat', saved, (chain) => chain === own);
}

/** The changes that leave the chains of a network's valid containers only. Whose a chain is stands in its rules' comments. Pure. */
export function buildMasqueradeCollection(
  network: string,
  validContainerIds: ReadonlySet<string>,
  saved: SavedTable,
): TableChanges {
  const stale = new Set<string>();
  for (const { rules } of saved.values())
    for (const rule of rules) {
      const owner = parseIptablesComment(rule);
      if (owner?.network !== network || validContainerIds.has(owner.containerId)) continue;
      const chain = cniChainName(network, owner.containerId);
      if (saved.has(chain)) stale.add(chain);
    }
  return buildChainRemoval('nat', saved, (chain) => stale.has(chain));
}

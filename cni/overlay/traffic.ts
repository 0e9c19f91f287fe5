import type { run as execRun } from '../../src/linux/exec.ts';
import { createIptables } from '../../src/netfilter/iptables.ts';
import { createNft } from '../../src/netfilter/nft.ts';
import { buildChainRemoval, isEmptyTransaction } from '../../src/netfilter/transaction.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import { buildForwardRemoval, buildForwardTransaction } from '../node/forward-rules.ts';
import { isMarkedTableInPlace, renderMarkedTable, renderTableRemoval } from '../node/marked-table.ts';
import type { PerFamily } from './backend.ts';
import {
  computeMasquerade,
  FLANNEL_FORWARD_CHAIN,
  FLANNEL_MASQUERADE_CHAIN,
  flannelForwardChain,
  masqueradeTable,
} from './traffic-rules.ts';

export interface Traffic {
  /** Brings the rules in place; what is right already is not written. @returns what was changed, for the log. */
  ensure(of: { networks: PerFamily<string>; podCidrs: PerFamily<string> }, signal?: AbortSignal): Promise<string[]>;
  /** Idempotent. */
  remove(): Promise<void>;
}

const FAMILIES = [4, 6] as const;

/** The overlay's rules for pods' traffic in the kernel. */
export function createTraffic(
  options: { masquerade: boolean; forward: boolean; hostNetns?: string },
  deps: { run: typeof execRun },
): Traffic {
  const base = { run: deps.run, netns: options.hostNetns };
  const nft = createNft(base);
  const iptables = {
    4: createIptables({ ...base, family: 'IPv4' }),
    6: createIptables({ ...base, family: 'IPv6' }),
  };

  async function ensureMasquerade(
    rules: { family: 4 | 6; network: string; podCidr: string },
    signal?: AbortSignal,
  ): Promise<string[]> {
    const table = masqueradeTable(rules.family);
    const chains = computeMasquerade(rules);
    const exists = (await nft.tables()).some(({ family, name }) => family === table.family && name === table.name);
    const objects = exists ? await nft.list(table.family, table.name, signal) : [];
    if (exists && isMarkedTableInPlace(chains, objects)) return [];
    await nft.apply(renderMarkedTable(table, chains), signal);
    return [`nft table ${table.family} ${table.name}`];
  }

  async function ensureForward(family: 4 | 6, network: string, signal?: AbortSignal): Promise<string[]> {
    const saved = await iptables[family].save('filter', signal);
    const transaction = buildForwardTransaction(saved.get('filter'), flannelForwardChain(network));
    if (isEmptyTransaction(transaction)) return [];
    await iptables[family].restore(transaction, signal);
    return [`iptables chain ${FLANNEL_FORWARD_CHAIN} (IPv${family})`];
  }

  /** flanneld's rules of its iptables mode would masquerade beside ours, with whatever CIDRs they were made for. */
  async function removeIptablesMasquerade(family: 4 | 6, signal?: AbortSignal): Promise<string[]> {
    if (!(await iptables[family].chainExists('nat', FLANNEL_MASQUERADE_CHAIN, signal))) return [];
    const saved = (await iptables[family].save('nat', signal)).get('nat');
    if (saved)
      await iptables[family].restore([buildChainRemoval('nat', saved, (chain) => chain === FLANNEL_MASQUERADE_CHAIN)]);
    return [`iptables chain ${FLANNEL_MASQUERADE_CHAIN} removed (IPv${family})`];
  }

  async function removeForward(family: 4 | 6): Promise<void> {
    if (!(await iptables[family].chainExists('filter', FLANNEL_FORWARD_CHAIN))) return;
    const saved = (await iptables[family].save('filter')).get('filter');
    await iptables[family].restore(buildForwardRemoval(saved, FLANNEL_FORWARD_CHAIN));
  }

  return {
    async ensure({ networks, podCidrs }, signal) {
      const changes: string[] = [];
      for (const family of FAMILIES) {
        const [network, podCidr] = [networks[family], podCidrs[family]];
        if (!network || !podCidr) continue;
        if (options.masquerade) {
          changes.push(...(await ensureMasquerade({ family, network, podCidr }, signal)));
          changes.push(...(await removeIptablesMasquerade(family, signal)));
        }
        if (options.forward) changes.push(...(await ensureForward(family, network, signal)));
      }
      return changes;
    },

    async remove() {
      const tables = new Set((await nft.tables()).map(({ family, name }) => `${family} ${name}`));
      const removeTable = (family: 4 | 6) => {
        const table = masqueradeTable(family);
        return tables.has(`${table.family} ${table.name}`) ? nft.apply(renderTableRemoval(table)) : undefined;
      };
      await runAll(
        "remove the overlay's rules",
        FAMILIES.flatMap((family) => [() => removeTable(family), () => removeForward(family)]),
      );
    },
  };
}

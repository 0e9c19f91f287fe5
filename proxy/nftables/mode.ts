import { isNetlinkError } from '../../src/linux/netlink/socket.ts';
import { NftBatch } from '../../src/netfilter/nfnetlink/batch.ts';
import { openNftSocket } from '../../src/netfilter/nfnetlink/socket.ts';
import { tableExists } from '../../src/netfilter/nfnetlink/table.ts';
import { Counter } from '../../src/runtime/metrics.ts';
import { runInSlices } from '../../src/runtime/slices.ts';
import type { ModeDependencies, ProxyMode } from '../mode.ts';
import { TABLE } from './names.ts';
import { buildProbe } from './probe.ts';
import { createNftablesProxier, createTurns } from './proxier.ts';
import { NFT_FAMILY, renderRuleSetSteps } from './rule-set.ts';
import { ruleSetText } from './text.ts';

/** Service traffic by nftables: a table of our own in each family, written by netlink. No program is run, none need be installed. */
export function createNftablesMode({ netns, log, metrics }: ModeDependencies): ProxyMode {
  const turns = createTurns();
  let syncFailures: Counter<'ip_family'> | undefined;
  const cleanupFailures = () =>
    new Counter({
      name: 'kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total',
      help: 'Cleanups that the kernel refused',
      labelNames: ['ip_family'],
      registers: [metrics],
    });
  return {
    name: 'nftables',
    async usable(family) {
      let socket: ReturnType<typeof openNftSocket> | undefined;
      try {
        socket = openNftSocket(netns);
        await socket.commit(await buildProbe(family));
        return undefined;
      } catch (error) {
        return `nf_tables for ${family}: ${(error as Error).message}`;
      } finally {
        socket?.close();
      }
    },
    proxier(family) {
      if (!syncFailures) {
        syncFailures = new Counter({
          name: 'kubeproxy_sync_proxy_rules_nftables_sync_failures_total',
          help: 'Transactions that the kernel refused',
          labelNames: ['ip_family'],
          registers: [metrics],
        });
        cleanupFailures();
      }
      const failures = syncFailures;
      return createNftablesProxier({
        family,
        openSocket: () => openNftSocket(netns),
        netns,
        log,
        turns,
        onCommitFailed: () => failures.inc({ ip_family: family }),
      });
    },
    async cleanup(family) {
      const nft = NFT_FAMILY[family];
      const socket = openNftSocket(netns);
      try {
        if (!(await tableExists(socket, nft, TABLE))) return;
        const batch = new NftBatch(nft, TABLE);
        batch.deleteTable();
        await socket.commit(batch.finish());
      } catch (error) {
        if (!isNetlinkError(error, 'ENOENT')) throw error;
      } finally {
        socket.close();
      }
    },
    renderText: async (snapshot, node) => ruleSetText(await runInSlices(renderRuleSetSteps(snapshot, node))),
  };
}

import { ExecError, hasProgram } from '../../src/linux/exec.ts';
import { mayHaveChain } from '../../src/netfilter/chain-presence.ts';
import { createIptables, type Iptables, type Run } from '../../src/netfilter/iptables.ts';
import type { NftSocket } from '../../src/netfilter/nfnetlink/socket.ts';
import type { IpFamily, SavedTable } from '../../src/netfilter/tables.ts';
import { isEmptyTransaction, type TableChanges } from '../../src/netfilter/transaction.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import type { PortmapBackend } from './backend.ts';
import {
  buildAddition,
  buildRemoval,
  chainsOf,
  containersOf,
  DNAT_CHAIN,
  findMissing,
  podChain,
} from './iptables-rules.ts';
import { mappingsOf } from './mapping.ts';

export interface IptablesBackendOptions {
  run: Run;
  /** Tells which chains of iptables-nft there are without a program. */
  socket: NftSocket;
  hostNetns?: string;
  /** For the xtables lock. Default 5 s. */
  lockWaitSeconds?: number;
}

/** Another process may change the table between our look and our transaction: then we look again. */
const ATTEMPTS = 5;

/** Host ports by iptables: one iptables-save and one iptables-restore a call and family, which cost as much as the nat table is long. */
export function createIptablesBackend(options: IptablesBackendOptions): PortmapBackend {
  const { run, socket, hostNetns, lockWaitSeconds } = options;
  const programs: Record<IpFamily, Iptables> = {
    IPv4: createIptables({ family: 'IPv4', run, netns: hostNetns, lockWaitSeconds }),
    IPv6: createIptables({ family: 'IPv6', run, netns: hostNetns, lockWaitSeconds }),
  };
  /** In this process one at a time: each looks at what the one before has written. */
  let tail: Promise<unknown> = Promise.resolve();
  function alone<T>(work: () => Promise<T>): Promise<T> {
    const result = tail.then(work);
    tail = result.catch(() => {});
    return result;
  }

  const save = async (family: IpFamily): Promise<SavedTable> =>
    (await programs[family].save('nat')).get('nat') ?? new Map();

  async function change(family: IpFamily, build: (saved: SavedTable) => TableChanges): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      const changes = build(await save(family));
      if (isEmptyTransaction([changes])) return;
      try {
        await programs[family].restore([changes]);
        return;
      } catch (error) {
        if (attempt === ATTEMPTS || !(error instanceof ExecError)) throw error;
      }
    }
  }

  const mayHave = async (family: IpFamily, chain: string) =>
    (await mayHaveChain({ socket, hostNetns }, family, 'nat', chain)) && hasProgram('iptables-save');

  const eachFamily = (what: string, work: (family: IpFamily) => Promise<void>) =>
    alone(() =>
      runAll(
        what,
        (['IPv4', 'IPv6'] as const).map((family) => () => work(family)),
      ),
    );

  return {
    async add(config, containerId, addresses) {
      await alone(async () => {
        for (const pod of addresses)
          if (mappingsOf(config.mappings, pod.family).length > 0)
            await change(pod.family, (saved) => buildAddition(config, containerId, pod, saved));
      });
    },

    remove: (network, containerId) =>
      eachFamily(`host ports of ${containerId}`, async (family) => {
        if (await mayHave(family, podChain(network, containerId)))
          await change(family, (saved) => buildRemovalIfAny(saved, chainsOf(network, [containerId])));
      }),

    async check(config, containerId, addresses) {
      for (const pod of addresses) {
        const missing = findMissing(config, containerId, pod, await save(pod.family));
        if (missing !== undefined) throw new Error(missing);
      }
    },

    collect: (network, keep) =>
      eachFamily(`host ports of network ${network}`, async (family) => {
        if (!(await mayHave(family, DNAT_CHAIN))) return;
        await change(family, (saved) => {
          const gone = containersOf(saved, network).filter((id) => !keep(id));
          return buildRemovalIfAny(saved, chainsOf(network, gone));
        });
      }),

    close() {},
  };
}

/** A container that has nothing here is no reason to look after what others share. */
function buildRemovalIfAny(saved: SavedTable, chains: readonly string[]): TableChanges {
  if (chains.some((chain) => saved.has(chain))) return buildRemoval(saved, chains);
  return { table: 'nat', chains: [], commands: [] };
}

import { ExecError } from '../../src/linux/exec.ts';
import { openRtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import type { Nft } from '../../src/netfilter/nft.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { mayHearRouters } from '../plugins/host-bridge.ts';
import { BRIDGE_GUARD_TABLE, computeBridgeGuardChains } from './bridge-guard-table.ts';
import { isMarkedTableInPlace, renderMarkedTable, renderTableRemoval } from './marked-table.ts';
import type { SysctlKeeper } from './sysctl-keeper.ts';

/** Keeps pods from being taken for routers, by the host and by each other. */
export interface BridgeGuard {
  /** @returns what was changed. */
  ensure(signal?: AbortSignal): Promise<string[]>;
  /** Idempotent. Sysctls are the keeper's to put back. */
  remove(): Promise<void>;
}

export function createBridgeGuard(
  options: { bridge: string; netns: string | undefined },
  deps: { nft: Nft; sysctls: SysctlKeeper; log: Logger },
): BridgeGuard {
  const { bridge, netns } = options;
  const { nft, sysctls, log } = deps;
  const { family, name } = BRIDGE_GUARD_TABLE;
  const chains = computeBridgeGuardChains(bridge);
  let isUnsupported = false;

  const isThere = async () => (await nft.tables()).some((table) => table.family === family && table.name === name);

  async function ensureTable(signal?: AbortSignal): Promise<string[]> {
    if (isUnsupported) return [];
    try {
      if ((await isThere()) && isMarkedTableInPlace(chains, await nft.list(family, name, signal))) return [];
      await nft.apply(renderMarkedTable(BRIDGE_GUARD_TABLE, chains), signal);
      return [`nft table ${family} ${name}`];
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof ExecError)) throw error;
      // A kernel without nf_tables on bridges, or whose nf_tables do not know bridges' names: accept_ra of host and pods is what is left.
      log.warn(
        { err: error },
        'router advertisements of pods cannot be dropped on their bridge; host and pods do not heed them',
      );
      isUnsupported = true;
      return [];
    }
  }

  /** As the bridge plugin does, which has no memory of what was before: a bridge of ours goes at the end, the admin's stays. */
  async function ensureSysctl(): Promise<string[]> {
    const key = `net/ipv6/conf/${bridge}/accept_ra`;
    if ([undefined, '0'].includes(sysctls.read(key))) return [];
    const netlink = openRtnetlink(netns);
    try {
      const link = await netlink.getLink(bridge);
      if (!link || (await mayHearRouters(netlink, link))) return [];
    } finally {
      netlink.close();
    }
    sysctls.write(key, '0');
    return [`sysctl ${key}=0`];
  }

  return {
    ensure: async (signal) => [...(await ensureTable(signal)), ...(await ensureSysctl())],
    async remove() {
      if (await isThere()) await nft.apply(renderTableRemoval(BRIDGE_GUARD_TABLE));
    },
  };
}

import { openRtnetlink } from '../../src/linux/netlink/rtnetlink.ts';
import type { Nft } from '../../src/netfilter/nft.ts';
import { BRIDGE_ALIAS, mayHearRouters } from '../plugins/host-bridge.ts';
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
  deps: { nft: Nft; sysctls: SysctlKeeper },
): BridgeGuard {
  const { bridge, netns } = options;
  const { nft, sysctls } = deps;
  const { family, name } = BRIDGE_GUARD_TABLE;
  const chains = computeBridgeGuardChains(bridge);

  const isThere = async () => (await nft.tables()).some((table) => table.family === family && table.name === name);

  async function remove(): Promise<boolean> {
    if (!(await isThere())) return false;
    await nft.apply(renderTableRemoval(BRIDGE_GUARD_TABLE));
    return true;
  }

  async function readBridge(): Promise<{ isForeign: boolean; mayHearRouters: boolean }> {
    const netlink = openRtnetlink(netns);
    try {
      const link = await netlink.getLink(bridge);
      const isForeign = link !== undefined && link.alias !== BRIDGE_ALIAS;
      return { isForeign, mayHearRouters: isForeign && (await mayHearRouters(netlink, link)) };
    } finally {
      netlink.close();
    }
  }

  async function ensureTable(signal?: AbortSignal): Promise<string[]> {
    if ((await isThere()) && isMarkedTableInPlace(chains, await nft.list(family, name, signal))) return [];
    await nft.apply(renderMarkedTable(BRIDGE_GUARD_TABLE, chains), signal);
    return [`nft table ${family} ${name}`];
  }

  /** As the bridge plugin does, which has no memory of what was before: a bridge of ours goes at the end, the admin's stays. */
  function ensureSysctl(): string[] {
    const key = `net/ipv6/conf/${bridge}/accept_ra`;
    if ([undefined, '0'].includes(sysctls.read(key))) return [];
    sysctls.write(key, '0');
    return [`sysctl ${key}=0`];
  }

  return {
    async ensure(signal) {
      const found = await readBridge();
      // The admin's may have an uplink, with the host's router behind it.
      if (found.mayHearRouters) return (await remove()) ? [`no nft table ${family} ${name}`] : [];
      return [...(await ensureTable(signal)), ...(found.isForeign ? ensureSysctl() : [])];
    },
    async remove() {
      await remove();
    },
  };
}

import type { IpFamily } from '../../src/netfilter/tables.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import type { ModeDependencies, ProxyMode } from '../mode.ts';
import type { PortalTable } from './portal-table.ts';
import { createIptablesPortals } from './portals-iptables.ts';
import { createNftPortals } from './portals-nft.ts';
import { createUserspaceProxier } from './proxier.ts';

/**
 * The proxy of old: this process takes every connection and carries its bytes to an endpoint. Clients' addresses are lost to endpoints,
 * and connections end with the process. What it needs of the kernel is one translation of addresses, by nftables or iptables.
 */
export function createUserspaceMode(deps: ModeDependencies): ProxyMode {
  const tablesOf = (family: IpFamily): PortalTable[] => [
    createNftPortals(family, deps),
    createIptablesPortals(family, deps),
  ];
  const chosen = new Map<IpFamily, PortalTable>();
  return {
    name: 'userspace',
    async usable(family) {
      const failures: string[] = [];
      for (const table of tablesOf(family))
        try {
          await table.probe();
          chosen.set(family, table);
          return undefined;
        } catch (error) {
          failures.push(`${table.kind}: ${(error as Error).message}`);
        }
      return `nothing leads packets to a relay: ${failures.join('; ')}`;
    },
    proxier: (family) => createUserspaceProxier(family, chosen.get(family) ?? tablesOf(family)[0]!, deps),
    async cleanup(family) {
      await runAll(
        'portals',
        tablesOf(family).map((table) => () => removeWhereItCanBe(table)),
      );
    },
  };
}

/** Where neither program nor kernel can do it, nothing of it can be. */
async function removeWhereItCanBe(table: PortalTable): Promise<void> {
  try {
    await table.remove();
  } catch (error) {
    const isPossible = await table.probe().then(
      () => true,
      () => false,
    );
    if (isPossible) throw error;
  }
}

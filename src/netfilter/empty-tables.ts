import type { Nft, NftObject } from './nft.ts';

/**
 * iptables-nft makes tables and built-in chains when they are first asked for and leaves them behind, empty, for ever: a `down` that only
 * removes its rules would still show `table ip nat { chain OUTPUT … }` where nothing was. This is what stood there: base chains by
 * `<family> <table>`, to be taken before the first rule is written, and kept (it is plain JSON) until the removal.
 */
export type TableSkeleton = Record<string, string[]>;

const FAMILIES = ['ip', 'ip6'];
const TABLES = ['filter', 'nat', 'mangle', 'raw', 'security'];

/** The iptables tables and base chains that exist now. */
export async function readTableSkeleton(nft: Nft, signal?: AbortSignal): Promise<TableSkeleton> {
  const skeleton: TableSkeleton = {};
  for (const { family, name } of await iptablesTables(nft))
    skeleton[`${family} ${name}`] = baseChains(await nft.list(family, name, signal)).map(({ name: chain }) =>
      String(chain),
    );
  return skeleton;
}

/**
 * Removes what iptables-nft left: base chains without rules and with policy accept, and tables that hold nothing more, unless they stood
 * there `before`. Whatever holds a rule, a set or a foreign chain stays. Idempotent. Under the legacy backend there is nothing to remove.
 */
export async function removeEmptyTables(nft: Nft, before: TableSkeleton = {}, signal?: AbortSignal): Promise<void> {
  for (const { family, name } of await iptablesTables(nft)) {
    const script = buildEmptyTableRemoval(
      family,
      name,
      await nft.list(family, name, signal),
      before[`${family} ${name}`],
    );
    if (script) await nft.apply(script, signal);
  }
}

/** The nft script that takes the empty parts of one table away; empty when all of it is in use or was there before. */
export function buildEmptyTableRemoval(family: string, table: string, objects: NftObject[], before?: string[]): string {
  const used = new Set(objects.flatMap(({ rule }) => (rule ? [String(rule.chain)] : [])));
  const removable = baseChains(objects)
    .filter(({ name, policy }) => !used.has(String(name)) && policy === 'accept' && !before?.includes(String(name)))
    .map(({ name }) => String(name));
  const left = objects.filter((object) => !removable.includes(String(object.chain?.name)));
  if (left.length === 0 && before === undefined) return `delete table ${family} ${table}\n`;
  return removable.map((chain) => `delete chain ${family} ${table} ${chain}\n`).join('');
}

async function iptablesTables(nft: Nft) {
  const tables = await nft.tables();
  return tables.filter(({ family, name }) => FAMILIES.includes(family) && TABLES.includes(name));
}

function baseChains(objects: NftObject[]) {
  return objects.flatMap(({ chain }) => (chain?.hook ? [chain] : []));
}

import type { Run } from './iptables.ts';
import { listTables } from './table-list.ts';

/** An object of `nft -j list …`: `{ chain: {...} }`, `{ rule: {...} }`, `{ set: {...} }` … */
export type NftObject = Record<string, Record<string, unknown>>;

/** The `nft` program: one table read at a time (another program's table may hold what this nft cannot read), one transaction written. */
export interface Nft {
  /** Family and name of every table; no program is run for it. */
  tables(): Promise<{ family: string; name: string }[]>;
  /** What a table holds, without the table object itself. */
  list(family: string, table: string, signal?: AbortSignal): Promise<NftObject[]>;
  /** Runs a script as one transaction. @throws ExecError; then nothing has changed. */
  apply(script: string, signal?: AbortSignal): Promise<void>;
}

export function createNft(options: { run: Run; timeoutMs?: number; netns?: string }): Nft {
  const base = { timeoutMs: options.timeoutMs ?? 60_000, netns: options.netns };
  const list = async (what: string[], signal?: AbortSignal) => {
    const { stdout } = await options.run('nft', ['-j', 'list', ...what], { ...base, signal });
    const { nftables } = JSON.parse(stdout) as { nftables: NftObject[] };
    return nftables.filter((object) => !('metainfo' in object));
  };
  return {
    tables: () => listTables(options.netns),
    async list(family, table, signal) {
      return (await list(['table', family, table], signal)).filter((object) => !('table' in object));
    },
    async apply(script, signal) {
      await options.run('nft', ['-f', '-'], { ...base, input: script, signal });
    },
  };
}

import { readFileSync } from 'node:fs';
import { inNetns } from '../linux/netns.ts';
import { chainExists } from './nfnetlink/rule-list.ts';
import type { NftSocket } from './nfnetlink/socket.ts';
import type { IpFamily, TableName } from './tables.ts';

const FAMILIES = {
  IPv4: { nft: 'ip', names: 'ip_tables_names' },
  IPv6: { nft: 'ip6', names: 'ip6_tables_names' },
} as const;

/**
 * Whether iptables may have a chain, without running it: for callers that mostly have nothing to look for. With iptables-nft the answer is
 * exact; where the legacy kind has the table in use, the answer is yes.
 */
export async function mayHaveChain(
  { socket, hostNetns }: { socket: NftSocket; hostNetns?: string },
  family: IpFamily,
  table: TableName,
  chain: string,
): Promise<boolean> {
  const { nft, names } = FAMILIES[family];
  // A kernel without nf_tables knows no such message (EINVAL), one without IPv6 no such family.
  const isInNft = await chainExists(socket, nft, table, chain).catch(() => false);
  return isInNft || legacyTables(names, hostNetns).includes(table);
}

function legacyTables(file: string, hostNetns: string | undefined): string[] {
  return inNetns(hostNetns, () => {
    try {
      return readFileSync(`/proc/thread-self/net/${file}`, 'utf8').split('\n');
    } catch {
      // No legacy iptables in this kernel.
      return [];
    }
  });
}

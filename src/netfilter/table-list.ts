import { readText } from '../linux/netlink/attributes.ts';
import { eachAttribute } from './nfnetlink/message.ts';
import { NFT_MSG_GETTABLE, NFTA_TABLE_NAME } from './nfnetlink/nf-tables.ts';
import { openNftSocket } from './nfnetlink/socket.ts';

/** NFPROTO_* (linux/netfilter.h), as nft writes them. */
const FAMILIES: Record<number, string> = { 1: 'inet', 2: 'ip', 3: 'arp', 5: 'netdev', 7: 'bridge', 10: 'ip6' };
const NFPROTO_UNSPEC = 0;
const GENERIC_HEADER_BYTES = 4;

/**
 * Family and name of every nf_tables table of a network namespace. By netlink: the nft program (1.0.6) reads all rules of all tables before it lists
 * their names, which takes it ten seconds beside an iptables proxy with 10,000 services.
 */
export async function listTables(netns?: string): Promise<{ family: string; name: string }[]> {
  const socket = openNftSocket(netns);
  try {
    return (await socket.dump('list tables', NFT_MSG_GETTABLE, NFPROTO_UNSPEC)).map((body) => {
      let name = '';
      eachAttribute(body, GENERIC_HEADER_BYTES, (type, value) => {
        if (type === NFTA_TABLE_NAME) name = readText(value);
      });
      return { family: FAMILIES[body[0]!] ?? String(body[0]), name };
    });
  } finally {
    socket.close();
  }
}

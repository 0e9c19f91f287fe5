import { readText } from '../../linux/netlink/attributes.ts';
import { isNetlinkError } from '../../linux/netlink/socket.ts';
import { eachAttribute } from './message.ts';
import {
  NFT_MSG_GETCHAIN,
  NFT_MSG_GETRULE,
  NFTA_CHAIN_NAME,
  NFTA_CHAIN_TABLE,
  NFTA_RULE_CHAIN,
  NFTA_RULE_EXPRESSIONS,
  NFTA_RULE_HANDLE,
  NFTA_RULE_TABLE,
  NFTA_RULE_USERDATA,
} from './nf-tables.ts';
import type { Family, Rule } from './rule.ts';
import { FAMILIES } from './rule-encoding.ts';
import { commentUserdata } from './set.ts';
import type { NftSocket } from './socket.ts';

/*
 * The rules of one table, with what tells whose they are: for writers that share a table with other programs and change
 * single rules of it. One dump, whose length is that of the table.
 */

/** A rule as it stands in the kernel. */
export interface StandingRule {
  chain: string;
  /** By which it can be deleted; never used again for another one of its table. */
  handle: bigint;
  comment?: string;
  owner?: string;
  /** NFTA_RULE_EXPRESSIONS, for isRule. */
  expressions: Buffer;
}

/** Type of the comment in a rule's user data (libnftnl); and one that libnftnl has not given away, which nft passes over. */
const COMMENT = 0;
const OWNER = 0xbe;

/** What is noted with a rule beside its expressions. */
export function ruleUserdata({ comment, owner }: Pick<Rule, 'comment' | 'owner'>): Buffer {
  return Buffer.concat([
    ...(comment === undefined ? [] : [commentUserdata(COMMENT, comment)]),
    ...(owner === undefined ? [] : [commentUserdata(OWNER, owner)]),
  ]);
}

/** All rules of a table, chain by chain, each chain's in order; empty when there is no such table. */
export async function listRules(socket: NftSocket, family: Family, table: string): Promise<StandingRule[]> {
  try {
    const bodies = await socket.dump(`list rules of ${table}`, NFT_MSG_GETRULE, FAMILIES[family].protocol, (writer) =>
      writer.text(NFTA_RULE_TABLE, table),
    );
    return bodies.map(decodeRule);
  } catch (error) {
    if (isNetlinkError(error, 'ENOENT')) return [];
    throw error;
  }
}

/** Whether a table has a chain of the name. */
export async function chainExists(socket: NftSocket, family: Family, table: string, chain: string): Promise<boolean> {
  const found = await socket.get(`get chain ${chain}`, NFT_MSG_GETCHAIN, FAMILIES[family].protocol, (writer) => {
    writer.text(NFTA_CHAIN_TABLE, table);
    writer.text(NFTA_CHAIN_NAME, chain);
  });
  return found !== undefined;
}

const GENERIC_HEADER_BYTES = 4;

function decodeRule(body: Buffer): StandingRule {
  const rule: StandingRule = { chain: '', handle: 0n, expressions: Buffer.alloc(0) };
  eachAttribute(body, GENERIC_HEADER_BYTES, (type, value) => {
    if (type === NFTA_RULE_CHAIN) rule.chain = readText(value);
    else if (type === NFTA_RULE_HANDLE) rule.handle = value.readBigUInt64BE();
    else if (type === NFTA_RULE_EXPRESSIONS) rule.expressions = value;
    else if (type === NFTA_RULE_USERDATA) readUserdata(rule, value);
  });
  return rule;
}

/** Type and length are a byte each. */
function readUserdata(rule: StandingRule, data: Buffer): void {
  for (let at = 0; at + 2 <= data.length; at += 2 + data[at + 1]!) {
    const value = readText(data.subarray(at + 2, at + 2 + data[at + 1]!));
    if (data[at] === COMMENT) rule.comment = value;
    else if (data[at] === OWNER) rule.owner = value;
  }
}

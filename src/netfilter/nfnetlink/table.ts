import { readText } from '../../linux/netlink/attributes.ts';
import { isNetlinkError } from '../../linux/netlink/socket.ts';
import { runInSlices } from '../../runtime/slices.ts';
import { eachAttribute } from './message.ts';
import {
  NFT_MSG_GETCHAIN,
  NFT_MSG_GETRULE,
  NFT_MSG_GETSET,
  NFT_MSG_GETSETELEM,
  NFT_MSG_GETTABLE,
  NFTA_CHAIN_HOOK,
  NFTA_CHAIN_NAME,
  NFTA_CHAIN_POLICY,
  NFTA_CHAIN_TABLE,
  NFTA_CHAIN_TYPE,
  NFTA_DATA_VALUE,
  NFTA_DATA_VERDICT,
  NFTA_HOOK_HOOKNUM,
  NFTA_HOOK_PRIORITY,
  NFTA_LIST_ELEM,
  NFTA_RULE_CHAIN,
  NFTA_RULE_EXPRESSIONS,
  NFTA_RULE_TABLE,
  NFTA_SET_DATA_LEN,
  NFTA_SET_ELEM_DATA,
  NFTA_SET_ELEM_KEY,
  NFTA_SET_ELEM_LIST_ELEMENTS,
  NFTA_SET_ELEM_LIST_SET,
  NFTA_SET_ELEM_LIST_TABLE,
  NFTA_SET_FLAGS,
  NFTA_SET_KEY_LEN,
  NFTA_SET_NAME,
  NFTA_SET_TABLE,
  NFTA_SET_TIMEOUT,
  NFTA_TABLE_NAME,
  NFTA_VERDICT_CHAIN,
  NFTA_VERDICT_CODE,
} from './nf-tables.ts';
import type { Family } from './rule.ts';
import { FAMILIES } from './rule-encoding.ts';
import type { NftSocket } from './socket.ts';

/** A table as the kernel gives it back, without elements. */
export interface KernelTable {
  /** By name: hook, priority, type and policy of a base chain; empty for others. */
  chains: Map<string, string>;
  /** By chain, in order: the NFTA_RULE_EXPRESSIONS of each rule. */
  rules: Map<string, Buffer[]>;
  /** By name: flags, lengths and timeout. */
  sets: Map<string, string>;
}

/** Whether there is a table of the name. */
export async function tableExists(socket: NftSocket, family: Family, table: string): Promise<boolean> {
  const found = await socket.get(`get table ${table}`, NFT_MSG_GETTABLE, FAMILIES[family].protocol, (writer) =>
    writer.text(NFTA_TABLE_NAME, table),
  );
  return found !== undefined;
}

/** Whether a chain of the table has a rule. */
export async function hasAnyRule(socket: NftSocket, family: Family, table: string, chain: string): Promise<boolean> {
  const { protocol } = FAMILIES[family];
  const rules = await socket.dump(`list rules of ${chain}`, NFT_MSG_GETRULE, protocol, (writer) => {
    writer.text(NFTA_RULE_TABLE, table);
    writer.text(NFTA_RULE_CHAIN, chain);
  });
  return rules.length > 0;
}

/** Reads one table's chains, rules and sets; undefined when there is no such table. */
export async function readTable(socket: NftSocket, family: Family, table: string): Promise<KernelTable | undefined> {
  if (!(await tableExists(socket, family, table))) return undefined;
  const { protocol } = FAMILIES[family];
  const found: KernelTable = { chains: new Map(), rules: new Map(), sets: new Map() };
  // The kernel gives all chains and sets of the family, whoever's they are: those of other tables are passed over by name, unread.
  for (const body of await socket.dump(`list chains of ${table}`, NFT_MSG_GETCHAIN, protocol)) {
    const chain = attributesOf(body, 4);
    if (textOf(chain, NFTA_CHAIN_TABLE) !== table) continue;
    found.chains.set(textOf(chain, NFTA_CHAIN_NAME), baseChainText(chain));
  }
  const rules = await socket.dump(`list rules of ${table}`, NFT_MSG_GETRULE, protocol, (writer) =>
    writer.text(NFTA_RULE_TABLE, table),
  );
  for (const body of rules) {
    const rule = attributesOf(body, 4);
    if (textOf(rule, NFTA_RULE_TABLE) !== table) continue;
    const chain = textOf(rule, NFTA_RULE_CHAIN);
    const known = found.rules.get(chain) ?? [];
    found.rules.set(chain, known);
    known.push(rule.get(NFTA_RULE_EXPRESSIONS) ?? Buffer.alloc(0));
  }
  const sets = await socket.dump(`list sets of ${table}`, NFT_MSG_GETSET, protocol, (writer) =>
    writer.text(NFTA_SET_TABLE, table),
  );
  for (const body of sets) {
    const set = attributesOf(body, 4);
    if (textOf(set, NFTA_SET_TABLE) === table) found.sets.set(textOf(set, NFTA_SET_NAME), setFactsText(set));
  }
  return found;
}

/** Hook, priority, type and policy in one text, for comparison with baseChainFacts. */
function baseChainText(chain: ReadonlyMap<number, Buffer>): string {
  const hook = chain.get(NFTA_CHAIN_HOOK);
  if (!hook) return '';
  const facts = attributesOf(hook, 0);
  return [
    chain.get(NFTA_CHAIN_TYPE) ? textOf(chain, NFTA_CHAIN_TYPE) : '',
    facts.get(NFTA_HOOK_HOOKNUM)?.readUInt32BE(),
    facts.get(NFTA_HOOK_PRIORITY)?.readInt32BE(),
    chain.get(NFTA_CHAIN_POLICY)?.readUInt32BE(),
  ].join(' ');
}

function setFactsText(set: ReadonlyMap<number, Buffer>): string {
  return [NFTA_SET_FLAGS, NFTA_SET_KEY_LEN, NFTA_SET_DATA_LEN, NFTA_SET_TIMEOUT]
    .map((type) => BigInt(`0x${set.get(type)?.toString('hex') ?? '0'}`))
    .join(' ');
}

/** Reads a set's elements: key in hex → data (hex, or `CODE CHAIN` of a verdict; empty in a set). */
export async function readElements(
  socket: NftSocket,
  family: Family,
  table: string,
  set: string,
): Promise<Map<string, string>> {
  try {
    const bodies = await socket.dump(
      `list elements of ${set}`,
      NFT_MSG_GETSETELEM,
      FAMILIES[family].protocol,
      (writer) => {
        writer.text(NFTA_SET_ELEM_LIST_TABLE, table);
        writer.text(NFTA_SET_ELEM_LIST_SET, set);
      },
    );
    return await runInSlices(parseElementsSteps(bodies));
  } catch (error) {
    if (isNetlinkError(error, 'ENOENT')) return new Map();
    throw error;
  }
}

/** In steps of a message, which has some hundred elements. */
function* parseElementsSteps(bodies: readonly Buffer[]): Generator<void, Map<string, string>> {
  const elements = new Map<string, string>();
  for (const body of bodies) {
    eachAttribute(body, 4, (type, list) => {
      if (type !== NFTA_SET_ELEM_LIST_ELEMENTS) return;
      eachAttribute(list, 0, (kind, element) => {
        if (kind === NFTA_LIST_ELEM) addElement(elements, element);
      });
    });
    yield;
  }
  return elements;
}

function addElement(elements: Map<string, string>, element: Buffer): void {
  let key = '';
  let data = '';
  eachAttribute(element, 0, (type, value) => {
    if (type === NFTA_SET_ELEM_KEY) key = valueText(value);
    else if (type === NFTA_SET_ELEM_DATA) data = valueText(value);
  });
  elements.set(key, data);
}

function valueText(nested: Buffer): string {
  let text = '';
  eachAttribute(nested, 0, (type, value) => {
    if (type === NFTA_DATA_VALUE) text = value.toString('hex');
    else if (type === NFTA_DATA_VERDICT) text = verdictText(value);
  });
  return text;
}

function verdictText(verdict: Buffer): string {
  const facts = attributesOf(verdict, 0);
  const chain = facts.get(NFTA_VERDICT_CHAIN);
  return `${facts.get(NFTA_VERDICT_CODE)?.readInt32BE()} ${chain ? readText(chain) : ''}`;
}

function attributesOf(data: Buffer, from: number): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  eachAttribute(data, from, (type, value) => found.set(type, value));
  return found;
}

function textOf(attributes: ReadonlyMap<number, Buffer>, type: number): string {
  return readText(attributes.get(type) ?? Buffer.alloc(1));
}

import { NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST } from '../../linux/netlink/constants.ts';
import { dataValue } from './expressions.ts';
import { MessageWriter, messageType, NFNL_SUBSYS_NFTABLES } from './message.ts';
import {
  NFNL_BATCH_GENID,
  NFNL_MSG_BATCH_BEGIN,
  NFNL_MSG_BATCH_END,
  NFT_MSG_DELCHAIN,
  NFT_MSG_DELRULE,
  NFT_MSG_DELSET,
  NFT_MSG_DELSETELEM,
  NFT_MSG_DELTABLE,
  NFT_MSG_NEWCHAIN,
  NFT_MSG_NEWRULE,
  NFT_MSG_NEWSET,
  NFT_MSG_NEWSETELEM,
  NFT_MSG_NEWTABLE,
  NFTA_CHAIN_HOOK,
  NFTA_CHAIN_NAME,
  NFTA_CHAIN_POLICY,
  NFTA_CHAIN_TABLE,
  NFTA_CHAIN_TYPE,
  NFTA_HOOK_HOOKNUM,
  NFTA_HOOK_PRIORITY,
  NFTA_LIST_ELEM,
  NFTA_RULE_CHAIN,
  NFTA_RULE_EXPRESSIONS,
  NFTA_RULE_HANDLE,
  NFTA_RULE_TABLE,
  NFTA_RULE_USERDATA,
  NFTA_SET_ELEM_KEY,
  NFTA_SET_ELEM_LIST_ELEMENTS,
  NFTA_SET_ELEM_LIST_SET,
  NFTA_SET_ELEM_LIST_TABLE,
  NFTA_SET_ID,
  NFTA_SET_NAME,
  NFTA_SET_TABLE,
  NFTA_TABLE_NAME,
  NFTA_TABLE_USERDATA,
  VERDICT_CODES,
} from './nf-tables.ts';
import type { BaseChainHook, Chain, Family, Rule } from './rule.ts';
import { encodeStatement, FAMILIES, HOOK_NUMBERS } from './rule-encoding.ts';
import { ruleUserdata } from './rule-list.ts';
import { commentUserdata, encodeElement, encodeSet, type SetDefinition, type SetElement } from './set.ts';

/** A transaction as bytes, and what each message is about: sequence numbers begin with 0 at BATCH_BEGIN. */
export interface Transaction {
  bytes: Buffer;
  /** By sequence number. */
  operations: readonly string[];
}

const NLM_F_APPEND = 0x800;
/** The list of elements is one attribute, whose length has 16 bits; what it holds stays below this. */
const ELEMENTS_LIMIT_BYTES = 60_000;

/** Of at most 64 bytes. */
const KEYS_A_MESSAGE = 500;

/**
 * Builds one transaction on one table: the kernel takes all of it, visible at one moment to every packet, or nothing.
 * Changes are made in the order of the calls, so what others refer to comes first, and goes last.
 */
export class NftBatch {
  readonly #writer: MessageWriter;
  readonly #family: Family;
  readonly #table: string;
  readonly #operations: string[] = [];
  #last = 0;

  /** @param generation of the ruleset that the changes were made for: the kernel refuses them (ERESTART) on any other. */
  constructor(family: Family, table: string, options: { generation?: number; initialBytes?: number } = {}) {
    this.#writer = new MessageWriter(options.initialBytes ?? 16_384);
    this.#family = family;
    this.#table = table;
    this.#writer.begin(NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, 0, 0, NFNL_SUBSYS_NFTABLES);
    if (options.generation !== undefined) this.#writer.u32(NFNL_BATCH_GENID, options.generation);
    this.#writer.end();
    this.#operations.push('begin the transaction');
  }

  /** Whether nothing would be changed. */
  get isEmpty(): boolean {
    return this.#operations.length === 1;
  }

  /** How many messages it has, and bytes. */
  get messages(): number {
    return this.#operations.length - 1;
  }

  /** Creates the table, or leaves one that is there. */
  addTable(comment: string): void {
    this.#message(NFT_MSG_NEWTABLE, NLM_F_CREATE, `add table ${this.#table}`, () => {
      this.#writer.text(NFTA_TABLE_NAME, this.#table);
      this.#writer.bytes(NFTA_TABLE_USERDATA, commentUserdata(0, comment));
    });
  }

  /** Deletes the table with all that it holds. */
  deleteTable(): void {
    this.#message(NFT_MSG_DELTABLE, 0, `delete table ${this.#table}`, () => {
      this.#writer.text(NFTA_TABLE_NAME, this.#table);
    });
  }

  /** Creates a chain, or leaves one that is there. Its rules are added apart. */
  addChain({ name, base }: Pick<Chain, 'name' | 'base'>): void {
    this.#message(NFT_MSG_NEWCHAIN, NLM_F_CREATE, `add chain ${name}`, () => {
      this.#writer.text(NFTA_CHAIN_TABLE, this.#table);
      this.#writer.text(NFTA_CHAIN_NAME, name);
      if (base) this.#baseChain(base);
    });
  }

  #baseChain({ type, hook, priority }: BaseChainHook): void {
    this.#writer.nest(NFTA_CHAIN_HOOK);
    this.#writer.u32(NFTA_HOOK_HOOKNUM, HOOK_NUMBERS[hook]);
    this.#writer.u32(NFTA_HOOK_PRIORITY, priority);
    this.#writer.unnest();
    this.#writer.u32(NFTA_CHAIN_POLICY, VERDICT_CODES.accept);
    this.#writer.text(NFTA_CHAIN_TYPE, type);
  }

  /** Removes a chain that nothing leads to any more. */
  deleteChain(name: string): void {
    this.#message(NFT_MSG_DELCHAIN, 0, `delete chain ${name}`, () => {
      this.#writer.text(NFTA_CHAIN_TABLE, this.#table);
      this.#writer.text(NFTA_CHAIN_NAME, name);
    });
  }

  /** Removes a chain's rules. */
  flushChain(name: string): void {
    this.#message(NFT_MSG_DELRULE, 0, `flush chain ${name}`, () => {
      this.#writer.text(NFTA_RULE_TABLE, this.#table);
      this.#writer.text(NFTA_RULE_CHAIN, name);
    });
  }

  /** Puts a rule at a chain's end. */
  addRule(chain: string, rule: Rule): void {
    this.#rule(chain, rule, NLM_F_APPEND);
  }

  /** Puts a rule before all others of a chain. */
  insertRule(chain: string, rule: Rule): void {
    this.#rule(chain, rule, 0);
  }

  /** Removes one rule, by the handle that the kernel gave it. */
  deleteRule(chain: string, handle: bigint): void {
    this.#message(NFT_MSG_DELRULE, 0, `delete rule ${handle} of ${chain}`, () => {
      this.#writer.text(NFTA_RULE_TABLE, this.#table);
      this.#writer.text(NFTA_RULE_CHAIN, chain);
      this.#writer.u64(NFTA_RULE_HANDLE, handle);
    });
  }

  #rule(chain: string, rule: Rule, place: number): void {
    this.#message(NFT_MSG_NEWRULE, NLM_F_CREATE | place, `add rule to ${chain}`, () => {
      this.#writer.text(NFTA_RULE_TABLE, this.#table);
      this.#writer.text(NFTA_RULE_CHAIN, chain);
      this.#writer.nest(NFTA_RULE_EXPRESSIONS);
      for (const statement of rule.statements) encodeStatement(this.#writer, statement, this.#family);
      this.#writer.unnest();
      const userdata = ruleUserdata(rule);
      if (userdata.length > 0) this.#writer.bytes(NFTA_RULE_USERDATA, userdata);
    });
  }

  addSet(set: SetDefinition): void {
    this.#message(NFT_MSG_NEWSET, NLM_F_CREATE, `add ${set.data ? 'map' : 'set'} ${set.name}`, () => {
      this.#writer.text(NFTA_SET_TABLE, this.#table);
      this.#writer.text(NFTA_SET_NAME, set.name);
      // The kernel wants one for elements and rules of the same transaction; we name sets by their names.
      this.#writer.u32(NFTA_SET_ID, this.#operations.length);
      encodeSet(this.#writer, set, this.#family);
    });
  }

  /** Removes a set that no rule uses any more, with its elements. */
  deleteSet(name: string): void {
    this.#message(NFT_MSG_DELSET, 0, `delete set ${name}`, () => {
      this.#writer.text(NFTA_SET_TABLE, this.#table);
      this.#writer.text(NFTA_SET_NAME, name);
    });
  }

  /** Removes all elements of a set. */
  flushSet(name: string): void {
    this.#message(NFT_MSG_DELSETELEM, 0, `flush set ${name}`, () => {
      this.#writer.text(NFTA_SET_ELEM_LIST_TABLE, this.#table);
      this.#writer.text(NFTA_SET_ELEM_LIST_SET, name);
    });
  }

  addElements(set: SetDefinition, elements: Iterable<SetElement>): void {
    this.#elements(NFT_MSG_NEWSETELEM, NLM_F_CREATE, 'add elements to', set, elements);
  }

  /** Data and comments of the elements don't matter; each key must be there. */
  deleteElements(set: SetDefinition, elements: Iterable<SetElement>): void {
    this.#elements(NFT_MSG_DELSETELEM, 0, 'delete elements of', set, elements);
  }

  /** The same for keys as readElements gives them (hex). */
  deleteKeys(set: string, keys: readonly string[]): void {
    for (let start = 0; start < keys.length; start += KEYS_A_MESSAGE) {
      this.#message(NFT_MSG_DELSETELEM, 0, `delete elements of ${set}`, () => {
        this.#writer.text(NFTA_SET_ELEM_LIST_TABLE, this.#table);
        this.#writer.text(NFTA_SET_ELEM_LIST_SET, set);
        this.#writer.nest(NFTA_SET_ELEM_LIST_ELEMENTS);
        for (const key of keys.slice(start, start + KEYS_A_MESSAGE)) {
          this.#writer.nest(NFTA_LIST_ELEM);
          dataValue(this.#writer, NFTA_SET_ELEM_KEY, Buffer.from(key, 'hex'));
          this.#writer.unnest();
        }
        this.#writer.unnest();
      });
    }
  }

  #elements(message: number, flags: number, verb: string, set: SetDefinition, elements: Iterable<SetElement>): void {
    const writer = this.#writer;
    let isOpen = false;
    const close = () => {
      writer.unnest();
      writer.end();
      isOpen = false;
    };
    for (const element of elements) {
      if (!isOpen) {
        this.#begin(message, flags, `${verb} ${set.name}`);
        writer.text(NFTA_SET_ELEM_LIST_TABLE, this.#table);
        writer.text(NFTA_SET_ELEM_LIST_SET, set.name);
        writer.nest(NFTA_SET_ELEM_LIST_ELEMENTS);
        isOpen = true;
      }
      encodeElement(writer, message === NFT_MSG_DELSETELEM ? { key: element.key } : element, set, this.#family);
      if (writer.openBytes > ELEMENTS_LIMIT_BYTES) close();
    }
    if (isOpen) close();
  }

  /** Ends the transaction; only its last change is acknowledged, errors always come. */
  finish(): Transaction {
    this.#writer.addFlags(this.#last, NLM_F_ACK);
    this.#writer.begin(NFNL_MSG_BATCH_END, NLM_F_REQUEST, this.#operations.length, 0, NFNL_SUBSYS_NFTABLES);
    this.#writer.end();
    this.#operations.push('end the transaction');
    return { bytes: this.#writer.finish(), operations: this.#operations };
  }

  /**
   * Ends it without its end: the kernel checks every change by itself, as `nft --check` has it do, and makes none. Whether each
   * expression may stand in its hook it would look at last, and for a table that is there already.
   */
  finishTrial(): Transaction {
    this.#writer.addFlags(this.#last, NLM_F_ACK);
    return { bytes: this.#writer.finish(), operations: [...this.#operations, 'end the trial'] };
  }

  #message(message: number, flags: number, operation: string, content: () => void): void {
    this.#begin(message, flags, operation);
    content();
    this.#writer.end();
  }

  #begin(message: number, flags: number, operation: string): void {
    const sequence = this.#operations.length;
    const { protocol } = FAMILIES[this.#family];
    this.#last = this.#writer.begin(
      messageType(NFNL_SUBSYS_NFTABLES, message),
      flags | NLM_F_REQUEST,
      sequence,
      protocol,
    );
    this.#operations.push(operation);
  }
}

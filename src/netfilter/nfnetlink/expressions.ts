import { u32Bytes } from '../../linux/netlink/attributes.ts';
import type { MessageWriter } from './message.ts';
import {
  NFT_REG_VERDICT,
  NFTA_DATA_VALUE,
  NFTA_DATA_VERDICT,
  NFTA_EXPR_DATA,
  NFTA_EXPR_NAME,
  NFTA_LIST_ELEM,
  NFTA_VERDICT_CHAIN,
  NFTA_VERDICT_CODE,
  VERDICT_CODES,
} from './nf-tables.ts';

/*
 * The kernel's expressions, one function each. Registers are counted in words of four bytes, 0…15; values in them are
 * bytes as the packet has them, and host byte order for what comes from the kernel itself (marks, states).
 * Attribute numbers are each expression's own (linux/netfilter/nf_tables.h) and stand here, where they are used.
 */

/** A whole 16 byte register has a number of its own, and the kernel gives that back for a word that begins one. */
export function registerOf(word: number): number {
  return word % 4 === 0 ? 1 + word / 4 : 8 + word;
}

/** One expression of a rule; `content` writes its attributes. */
function expression(writer: MessageWriter, name: string, content: () => void): void {
  writer.nest(NFTA_LIST_ELEM);
  writer.text(NFTA_EXPR_NAME, name);
  writer.nest(NFTA_EXPR_DATA);
  content();
  writer.unnest();
  writer.unnest();
}

/** A value, in the nested form in which the kernel takes all values. */
export function dataValue(writer: MessageWriter, type: number, value: Uint8Array): void {
  writer.nest(type);
  writer.bytes(NFTA_DATA_VALUE, value);
  writer.unnest();
}

/** A verdict as a value; jump and goto name a chain. */
export function dataVerdict(
  writer: MessageWriter,
  type: number,
  verdict: keyof typeof VERDICT_CODES,
  chain?: string,
): void {
  writer.nest(type);
  writer.nest(NFTA_DATA_VERDICT);
  writer.u32(NFTA_VERDICT_CODE, VERDICT_CODES[verdict]);
  if (chain !== undefined) writer.text(NFTA_VERDICT_CHAIN, chain);
  writer.unnest();
  writer.unnest();
}

export const HEADER_NETWORK = 1;
export const HEADER_TRANSPORT = 2;

/** Bytes of a header into a register. */
export function loadPayload(writer: MessageWriter, word: number, base: number, offset: number, length: number): void {
  expression(writer, 'payload', () => {
    writer.u32(1, registerOf(word));
    writer.u32(2, base);
    writer.u32(3, offset);
    writer.u32(4, length);
  });
}

const META_KEYS = { mark: 3, iifname: 6, l4proto: 16 } as const;

export function loadMeta(writer: MessageWriter, word: number, key: keyof typeof META_KEYS): void {
  expression(writer, 'meta', () => {
    writer.u32(1, registerOf(word));
    writer.u32(2, META_KEYS[key]);
  });
}

export function setMark(writer: MessageWriter, word: number): void {
  expression(writer, 'meta', () => {
    writer.u32(2, META_KEYS.mark);
    writer.u32(3, registerOf(word));
  });
}

const CT_KEYS = { state: 0, status: 2 } as const;

export function loadConnection(writer: MessageWriter, word: number, key: keyof typeof CT_KEYS): void {
  expression(writer, 'ct', () => {
    writer.u32(1, registerOf(word));
    writer.u32(2, CT_KEYS[key]);
  });
}

/** Ends the rule unless the register equals (differs from) the value. */
export function compare(writer: MessageWriter, word: number, isNegated: boolean, value: Uint8Array): void {
  expression(writer, 'cmp', () => {
    writer.u32(1, registerOf(word));
    writer.u32(2, isNegated ? 1 : 0);
    dataValue(writer, 3, value);
  });
}

/** register = (register & mask) ^ xor */
export function bitwise(writer: MessageWriter, word: number, mask: Uint8Array, xor: Uint8Array): void {
  expression(writer, 'bitwise', () => {
    writer.u32(1, registerOf(word));
    writer.u32(2, registerOf(word));
    writer.u32(3, mask.length);
    dataValue(writer, 4, mask);
    dataValue(writer, 5, xor);
  });
}

/** The same for a number of the kernel's own, such as the mark. */
export function bitwiseNumber(writer: MessageWriter, word: number, mask: number, xor: number): void {
  bitwise(writer, word, u32Bytes(mask), u32Bytes(xor));
}

/** Ends the rule unless the set has the key; puts a map's data into a register, or takes it as the verdict. */
export function lookup(writer: MessageWriter, word: number, set: string, into?: number | 'verdict'): void {
  expression(writer, 'lookup', () => {
    writer.text(1, set);
    writer.u32(2, registerOf(word));
    if (into !== undefined) writer.u32(3, into === 'verdict' ? NFT_REG_VERDICT : registerOf(into));
  });
}

/** A random number of `count` from `first` on. */
export function loadRandom(writer: MessageWriter, word: number, count: number, first: number): void {
  expression(writer, 'numgen', () => {
    writer.u32(1, registerOf(word));
    writer.u32(2, count);
    writer.u32(3, 1);
    writer.u32(4, first);
  });
}

const FIB_RESULT_ADDRESS_TYPE = 3;
const FIB_FLAGS = { saddr: 1, daddr: 2 } as const;

/** What kind of address it is to this host's routing: RTN_LOCAL and the like. */
export function loadAddressType(writer: MessageWriter, word: number, field: 'saddr' | 'daddr'): void {
  expression(writer, 'fib', () => {
    writer.u32(1, registerOf(word));
    writer.u32(2, FIB_RESULT_ADDRESS_TYPE);
    writer.u32(3, FIB_FLAGS[field]);
  });
}

/** Adds the register's value to a dynamic set unless it is there; either way the element's time begins anew. */
export function updateSet(writer: MessageWriter, set: string, key: number): void {
  const DYNSET_OP_UPDATE = 1;
  expression(writer, 'dynset', () => {
    writer.text(1, set);
    writer.u32(3, DYNSET_OP_UPDATE);
    writer.u32(4, registerOf(key));
  });
}

/** A value of the rule's own. */
export function loadValue(writer: MessageWriter, word: number, value: Uint8Array): void {
  expression(writer, 'immediate', () => {
    writer.u32(1, registerOf(word));
    dataValue(writer, 2, value);
  });
}

/** DNAT to the address and port in the registers. */
export function dnat(writer: MessageWriter, family: number, address: number, port: number): void {
  const [TYPE_DNAT, RANGE_MAP_IPS, RANGE_PROTO_SPECIFIED] = [1, 1, 2];
  expression(writer, 'nat', () => {
    writer.u32(1, TYPE_DNAT);
    writer.u32(2, family);
    writer.u32(3, registerOf(address));
    writer.u32(4, registerOf(address));
    writer.u32(5, registerOf(port));
    writer.u32(6, registerOf(port));
    writer.u32(7, RANGE_MAP_IPS | RANGE_PROTO_SPECIFIED);
  });
}

/** With ports chosen at random, lest two flows race for one. */
export function masquerade(writer: MessageWriter): void {
  const RANGE_PROTO_RANDOM_FULLY = 0x10;
  expression(writer, 'masq', () => writer.u32(1, RANGE_PROTO_RANDOM_FULLY));
}

/** An ICMP error "port unreachable" of the family. */
export function reject(writer: MessageWriter, portUnreachable: number): void {
  expression(writer, 'reject', () => {
    writer.u32(1, 0);
    writer.u8(2, portUnreachable);
  });
}

export function giveVerdict(writer: MessageWriter, verdict: keyof typeof VERDICT_CODES, chain?: string): void {
  expression(writer, 'immediate', () => {
    writer.u32(1, NFT_REG_VERDICT);
    dataVerdict(writer, 2, verdict, chain);
  });
}

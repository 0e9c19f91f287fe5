import { u32Bytes } from '../../linux/netlink/attributes.ts';
import { addressBytes } from './address.ts';
import { dataVerdict } from './expressions.ts';
import type { MessageWriter } from './message.ts';
import {
  NFT_DATA_VERDICT,
  NFT_SET_EVAL,
  NFT_SET_MAP,
  NFT_SET_TIMEOUT,
  NFTA_DATA_VALUE,
  NFTA_LIST_ELEM,
  NFTA_SET_DATA_LEN,
  NFTA_SET_DATA_TYPE,
  NFTA_SET_DESC,
  NFTA_SET_DESC_SIZE,
  NFTA_SET_ELEM_DATA,
  NFTA_SET_ELEM_KEY,
  NFTA_SET_ELEM_USERDATA,
  NFTA_SET_FLAGS,
  NFTA_SET_KEY_LEN,
  NFTA_SET_KEY_TYPE,
  NFTA_SET_TIMEOUT,
  NFTA_SET_USERDATA,
  type VERDICT_CODES,
} from './nf-tables.ts';
import type { Family } from './rule.ts';
import { FAMILIES, PROTOCOLS } from './rule-encoding.ts';
import { durationText } from './rule-text.ts';

/** A part of a set's key or of a map's data. `slot` is a bare number, as numgen makes it. */
export type PartType = 'address' | 'protocol' | 'port' | 'slot';

/** A named set or map of a table. */
export interface SetDefinition {
  readonly name: string;
  readonly key: readonly PartType[];
  /** Absent for a set. */
  readonly data?: 'verdict' | readonly PartType[];
  /** Filled by rules: elements go after a time, and there are never more than `size`. */
  readonly dynamic?: { readonly timeoutSeconds: number; readonly size: number };
  /** For people; at most 253 bytes. */
  readonly comment?: string;
}

export interface Verdict {
  readonly code: keyof typeof VERDICT_CODES;
  readonly chain?: string;
}

export interface SetElement {
  /** As many as the definition has types: `10.0.0.1`, `tcp`, `80`. */
  readonly key: readonly (string | number)[];
  readonly data?: Verdict | readonly (string | number)[];
  readonly comment?: string;
}

/** What nft calls the types, and the numbers by which it knows them again (six bits of a concatenation each). */
const TYPES: Record<Family, Record<PartType, { name: string; number: number }>> = {
  ip: {
    address: { name: 'ipv4_addr', number: 7 },
    protocol: { name: 'inet_proto', number: 12 },
    port: { name: 'inet_service', number: 13 },
    slot: { name: 'integer', number: 4 },
  },
  ip6: {
    address: { name: 'ipv6_addr', number: 8 },
    protocol: { name: 'inet_proto', number: 12 },
    port: { name: 'inet_service', number: 13 },
    slot: { name: 'integer', number: 4 },
  },
};

/** Each part is padded to words. */
function partBytes(type: PartType, family: Family): number {
  return type === 'address' ? FAMILIES[family].addressBytes : 4;
}

function totalBytes(parts: readonly PartType[], family: Family): number {
  return parts.reduce((sum, part) => sum + partBytes(part, family), 0);
}

/** Length of a set's keys. */
export function keyBytesOf(set: SetDefinition, family: Family): number {
  return totalBytes(set.key, family);
}

/** Length of a map's values; 0 for a set and for verdicts, which have no bytes. */
export function dataBytesOf({ data }: SetDefinition, family: Family): number {
  return data === undefined || data === 'verdict' ? 0 : totalBytes(data, family);
}

function typeNumber(parts: readonly PartType[], family: Family): number {
  return parts.reduce((number, part) => (number << 6) | TYPES[family][part].number, 0);
}

/** Writes the attributes of a set, beside table and name. */
export function encodeSet(writer: MessageWriter, set: SetDefinition, family: Family): void {
  const flags = (set.data ? NFT_SET_MAP : 0) | (set.dynamic ? NFT_SET_TIMEOUT | NFT_SET_EVAL : 0);
  if (flags !== 0) writer.u32(NFTA_SET_FLAGS, flags);
  writer.u32(NFTA_SET_KEY_TYPE, typeNumber(set.key, family));
  writer.u32(NFTA_SET_KEY_LEN, totalBytes(set.key, family));
  if (set.data) {
    const isVerdict = set.data === 'verdict';
    writer.u32(NFTA_SET_DATA_TYPE, isVerdict ? NFT_DATA_VERDICT : typeNumber(set.data as PartType[], family));
    writer.u32(NFTA_SET_DATA_LEN, isVerdict ? 0 : totalBytes(set.data as PartType[], family));
  }
  if (set.dynamic) {
    writer.u64(NFTA_SET_TIMEOUT, BigInt(set.dynamic.timeoutSeconds * 1000));
    writer.nest(NFTA_SET_DESC);
    writer.u32(NFTA_SET_DESC_SIZE, set.dynamic.size);
    writer.unnest();
  }
  const userdata = setUserdata(set, family);
  if (userdata.length > 0) writer.bytes(NFTA_SET_USERDATA, userdata);
}

/** Writes one element of a message's list. */
export function encodeElement(writer: MessageWriter, element: SetElement, set: SetDefinition, family: Family): void {
  writer.nest(NFTA_LIST_ELEM);
  parts(writer, NFTA_SET_ELEM_KEY, element.key, set.key, family);
  const { data } = element;
  if (data !== undefined) {
    if ('code' in data) dataVerdict(writer, NFTA_SET_ELEM_DATA, data.code, data.chain);
    else parts(writer, NFTA_SET_ELEM_DATA, data, set.data as readonly PartType[], family);
  }
  if (element.comment !== undefined) writer.bytes(NFTA_SET_ELEM_USERDATA, commentUserdata(0, element.comment));
  writer.unnest();
}

function parts(
  writer: MessageWriter,
  attribute: number,
  values: readonly (string | number)[],
  types: readonly PartType[],
  family: Family,
): void {
  writer.nest(attribute);
  writer.bytes(NFTA_DATA_VALUE, partsBytes(values, types, family));
  writer.unnest();
}

/** Values as the kernel keeps them, each padded to words. */
export function partsBytes(values: readonly (string | number)[], types: readonly PartType[], family: Family): Buffer {
  const bytes = Buffer.alloc(totalBytes(types, family));
  let at = 0;
  for (const [index, type] of types.entries()) {
    const value = values[index]!;
    if (type === 'address') bytes.set(addressBytes(value as string), at);
    else if (type === 'protocol') bytes[at] = PROTOCOLS[value as keyof typeof PROTOCOLS];
    else if (type === 'port') bytes.writeUInt16BE(value as number, at);
    else new Uint32Array(bytes.buffer, bytes.byteOffset + at, 1)[0] = value as number;
    at += partBytes(type, family);
  }
  return bytes;
}

/** Userdata is nft's own: type, length, a string with its zero. */
export function commentUserdata(type: number, comment: string): Buffer {
  return userdata(type, Buffer.from(`${comment}\0`));
}

/**
 * What nft itself notes with a set, to print it again: the byte order of key and data, the comment, and where a type has no
 * name (`integer`), an expression that has it. The numbers are libnftnl's.
 */
function setUserdata(set: SetDefinition, family: Family): Buffer {
  const [KEY_BYTE_ORDER, DATA_BYTE_ORDER, COMMENT, KEY_EXPRESSION, DATA_EXPRESSION] = [0, 1, 7, 3, 4];
  const [HOST_ORDER, NETWORK_ORDER] = [1, 2];
  const isSlot = set.key.includes('slot');
  const order = isSlot ? HOST_ORDER : set.key.length === 1 ? NETWORK_ORDER : 0;
  return Buffer.concat([
    userdata(KEY_BYTE_ORDER, u32Bytes(order)),
    ...(set.data ? [userdata(DATA_BYTE_ORDER, u32Bytes(0))] : []),
    ...(isSlot
      ? [userdata(KEY_EXPRESSION, numgenExpression()), userdata(DATA_EXPRESSION, destinationExpression(family))]
      : []),
    ...(set.comment === undefined ? [] : [commentUserdata(COMMENT, set.comment)]),
  ]);
}

/** `numgen inc mod 2` */
function numgenExpression(): Buffer {
  const EXPR_NUMGEN = 23;
  const [TYPE, MODULUS, OFFSET] = [0, 1, 2];
  return typedExpression(EXPR_NUMGEN, [
    userdata(TYPE, u32Bytes(0)),
    userdata(MODULUS, u32Bytes(2)),
    userdata(OFFSET, u32Bytes(0)),
  ]);
}

/** `ip daddr . tcp dport` */
function destinationExpression(family: Family): Buffer {
  const [EXPR_PAYLOAD, EXPR_CONCAT] = [7, 13];
  const [HEADER, FIELD] = [0, 1];
  const [IP, IP6, TCP] = [12, 13, 8];
  const [IP_DADDR, IP6_DADDR, TCP_DPORT] = [12, 9, 2];
  const payload = (header: number, field: number) =>
    typedExpression(EXPR_PAYLOAD, [userdata(HEADER, u32Bytes(header)), userdata(FIELD, u32Bytes(field))]);
  return typedExpression(EXPR_CONCAT, [
    userdata(0, family === 'ip' ? payload(IP, IP_DADDR) : payload(IP6, IP6_DADDR)),
    userdata(1, payload(TCP, TCP_DPORT)),
  ]);
}

function typedExpression(kind: number, content: Buffer[]): Buffer {
  const [KIND, CONTENT] = [0, 1];
  return Buffer.concat([userdata(KIND, u32Bytes(kind)), userdata(CONTENT, Buffer.concat(content))]);
}

/** Type and length have a byte each. */
function userdata(type: number, value: Buffer): Buffer {
  return Buffer.concat([Buffer.from([type, value.length]), value]);
}

/** A set as `nft list set` prints it, without its table's indentation. */
export function setText(set: SetDefinition, elements: readonly SetElement[], family: Family): string {
  const isSlot = set.key.includes('slot');
  const key = isSlot ? 'numgen inc mod 2' : typeText(set.key, family);
  const destination = isSlot ? `${family} daddr . tcp dport` : undefined;
  const data = set.data && (set.data === 'verdict' ? 'verdict' : (destination ?? typeText(set.data, family)));
  const lines = [
    `${isSlot ? 'typeof' : 'type'} ${key}${data ? ` : ${data}` : ''}`,
    ...(set.dynamic
      ? [`size ${set.dynamic.size}`, 'flags dynamic,timeout', `timeout ${durationText(set.dynamic.timeoutSeconds)}`]
      : []),
    ...(set.comment ? [`comment "${set.comment}"`] : []),
    ...(elements.length > 0 ? [`elements = { ${elements.map(elementText).join(',\n\t\t     ')} }`] : []),
  ];
  return `${set.data ? 'map' : 'set'} ${set.name} {\n${lines.map((line) => `\t${line}\n`).join('')}}\n`;
}

function typeText(types: readonly PartType[], family: Family): string {
  return types.map((type) => TYPES[family][type].name).join(' . ');
}

function elementText({ key, data, comment }: SetElement): string {
  const about = comment === undefined ? '' : ` comment "${comment}"`;
  const value =
    data === undefined
      ? ''
      : ` : ${'code' in data ? [data.code, ...(data.chain ? [data.chain] : [])].join(' ') : data.join(' . ')}`;
  return `${key.join(' . ')}${about}${value}`;
}

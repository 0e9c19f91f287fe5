import { LITTLE_ENDIAN, u32Bytes } from '../../linux/netlink/attributes.ts';
import { writeAddress } from './address.ts';
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

/** A part of a set's key or of a map's data. `index` is a bare number, as numgen makes it. */
export type PartType = 'address' | 'protocol' | 'port' | 'index';

/** The kernel's limit of a set that rules fill, unless it is told another (nft_dynset_init). */
const DYNAMIC_SET_SIZE = 65_535;

/** A named set or map of a table. */
export interface SetDefinition {
  readonly name: string;
  readonly key: readonly PartType[];
  /** Absent for a set. */
  readonly data?: 'verdict' | readonly PartType[];
  /** Filled by rules: elements go after a time, and there are never more than DYNAMIC_SET_SIZE. */
  readonly dynamic?: { readonly timeoutSeconds: number };
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
    index: { name: 'integer', number: 4 },
  },
  ip6: {
    address: { name: 'ipv6_addr', number: 8 },
    protocol: { name: 'inet_proto', number: 12 },
    port: { name: 'inet_service', number: 13 },
    index: { name: 'integer', number: 4 },
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
  // Without a size: the kernel would make room for all of it at once, a megabyte for each set. Its own limit is DYNAMIC_SET_SIZE.
  if (set.dynamic) writer.u64(NFTA_SET_TIMEOUT, BigInt(set.dynamic.timeoutSeconds * 1000));
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
  const at = writer.room(NFTA_DATA_VALUE, totalBytes(types, family));
  writeParts(writer.buffer, at, values, types, family);
  writer.unnest();
}

/** Values as the kernel keeps them, each padded to words. */
export function partsBytes(values: readonly (string | number)[], types: readonly PartType[], family: Family): Buffer {
  const bytes = Buffer.alloc(totalBytes(types, family));
  writeParts(bytes, 0, values, types, family);
  return bytes;
}

function writeParts(
  target: Buffer,
  start: number,
  values: readonly (string | number)[],
  types: readonly PartType[],
  family: Family,
): void {
  let at = start;
  for (let index = 0; index < types.length; index++) {
    const type = types[index]!;
    const value = values[index]!;
    if (type === 'address') writeAddress(target, at, value as string);
    else if (type === 'protocol') target[at] = PROTOCOLS[value as keyof typeof PROTOCOLS];
    else if (type === 'port') target.writeUInt16BE(value as number, at);
    // As numgen makes it.
    else if (LITTLE_ENDIAN) target.writeUInt32LE(value as number, at);
    else target.writeUInt32BE(value as number, at);
    at += partBytes(type, family);
  }
}

/** Userdata is nft's own: type, length, a string with its zero. */
export function commentUserdata(type: number, comment: string): Buffer {
  return userdata(type, Buffer.from(`${comment}\0`));
}

/**
 * What nft itself notes with a set, to print it again: the byte order of key and data, the comment, and where a type has no
 * name (`integer`), expressions that have the types. The numbers are libnftnl's.
 */
function setUserdata(set: SetDefinition, family: Family): Buffer {
  const [KEY_BYTE_ORDER, DATA_BYTE_ORDER, COMMENT, KEY_EXPRESSION, DATA_EXPRESSION] = [0, 1, 7, 3, 4];
  const NETWORK_ORDER = 2;
  return Buffer.concat([
    userdata(KEY_BYTE_ORDER, u32Bytes(set.key.length === 1 ? NETWORK_ORDER : 0)),
    ...(set.data ? [userdata(DATA_BYTE_ORDER, u32Bytes(0))] : []),
    ...(hasIndex(set)
      ? [
          userdata(KEY_EXPRESSION, concatenation(set.key, family)),
          userdata(DATA_EXPRESSION, concatenation(set.data as readonly PartType[], family)),
        ]
      : []),
    ...(set.comment === undefined ? [] : [commentUserdata(COMMENT, set.comment)]),
  ]);
}

function hasIndex({ key }: SetDefinition): boolean {
  return key.includes('index');
}

/** `ip daddr . meta l4proto . th dport . numgen inc mod 2` */
function concatenation(parts: readonly PartType[], family: Family): Buffer {
  const EXPR_CONCAT = 13;
  return typedExpression(
    EXPR_CONCAT,
    parts.map((part, index) => userdata(index, partExpression(part, family))),
  );
}

function partExpression(part: PartType, family: Family): Buffer {
  const [EXPR_PAYLOAD, EXPR_META, EXPR_NUMGEN] = [7, 9, 23];
  const [IP, IP6, TRANSPORT] = [12, 13, 11];
  const [IP_DADDR, IP6_DADDR, DPORT] = [12, 9, 2];
  const META_L4PROTO = 16;
  const numbers = (...all: number[]) => all.map((number, index) => userdata(index, u32Bytes(number)));
  switch (part) {
    case 'address':
      return typedExpression(EXPR_PAYLOAD, family === 'ip' ? numbers(IP, IP_DADDR) : numbers(IP6, IP6_DADDR));
    case 'protocol':
      return typedExpression(EXPR_META, numbers(META_L4PROTO));
    case 'port':
      return typedExpression(EXPR_PAYLOAD, numbers(TRANSPORT, DPORT));
    case 'index':
      // Type 0 (inc), modulus 2, offset 0.
      return typedExpression(EXPR_NUMGEN, numbers(0, 2, 0));
  }
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
  const partsText = (types: readonly PartType[]) =>
    hasIndex(set) ? types.map((type) => EXPRESSION_TEXT[family][type]).join(' . ') : typeText(types, family);
  const key = partsText(set.key);
  const data = set.data && (set.data === 'verdict' ? 'verdict' : partsText(set.data));
  const lines = [
    `${hasIndex(set) ? 'typeof' : 'type'} ${key}${data ? ` : ${data}` : ''}`,
    ...(set.dynamic
      ? [`size ${DYNAMIC_SET_SIZE}`, 'flags dynamic,timeout', `timeout ${durationText(set.dynamic.timeoutSeconds)}`]
      : []),
    ...(set.comment ? [`comment "${set.comment}"`] : []),
    ...(elements.length > 0 ? [`elements = { ${elements.map(elementText).join(',\n\t\t     ')} }`] : []),
  ];
  return `${set.data ? 'map' : 'set'} ${set.name} {\n${lines.map((line) => `\t${line}\n`).join('')}}\n`;
}

const EXPRESSION_TEXT: Record<Family, Record<PartType, string>> = {
  ip: { address: 'ip daddr', protocol: 'meta l4proto', port: 'th dport', index: 'numgen inc mod 2' },
  ip6: { address: 'ip6 daddr', protocol: 'meta l4proto', port: 'th dport', index: 'numgen inc mod 2' },
};

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

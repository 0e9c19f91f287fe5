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
  const text = Buffer.from(`${comment}\0`);
  return Buffer.concat([Buffer.from([type, text.length]), text]);
}

function setUserdata(set: SetDefinition, family: Family): Buffer {
  return Buffer.alloc(0);
}

/** A set as `nft list set` prints it, without its table's indentation. */
export function setText(set: SetDefinition, elements: readonly SetElement[], family: Family): string {
  const key = typeText(set.key, family);
  const data = set.data && (set.data === 'verdict' ? 'verdict' : typeText(set.data, family));
  const lines = [
    `${set.key.includes('slot') ? 'typeof' : 'type'} ${key}${data ? ` : ${data}` : ''}`,
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

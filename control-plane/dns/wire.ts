/** Numbers and shapes of RFC 1035 messages, as far as a server needs them by hand. */

export const TYPE = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  HINFO: 13,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  OPT: 41,
  IXFR: 251,
  AXFR: 252,
  ANY: 255,
} as const;

export const RCODE = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
  /** Extended: its upper bits travel in the OPT record (RFC 6891). */
  BADVERS: 16,
} as const;

export const FLAG = { response: 0x8000, authoritative: 0x0400, truncated: 0x0200, desired: 0x0100, available: 0x0080 };

export const CLASS_IN = 1;
export const HEADER_BYTES = 12;
/** What a client without EDNS takes over UDP. */
export const PLAIN_UDP_BYTES = 512;
/** The most that we send and ask for over UDP: fits any path without fragments (RFC 9715). */
export const EDNS_UDP_BYTES = 1232;

const NAME_MAX_BYTES = 255;
const LABEL_MAX_BYTES = 63;
const DOT = 0x2e;

const TYPE_NAMES = new Map<number, string>(Object.entries(TYPE).map(([name, number]) => [number, name]));
const RCODE_NAMES = new Map<number, string>(Object.entries(RCODE).map(([name, number]) => [number, name]));

/** `A`; types that have no name here are `other`, so that metrics have few series. */
export function typeName(type: number): string {
  return TYPE_NAMES.get(type) ?? 'other';
}

export function rcodeName(rcode: number): string {
  return RCODE_NAMES.get(rcode) ?? String(rcode);
}

/** A name is read into this; its longest text form has every byte written `\ddd`. */
const text = Buffer.alloc(NAME_MAX_BYTES * 4);

/**
 * The name of a question: lower case, without the final dot ('' is the root); bytes that names seldom have are written `\ddd`.
 * Undefined when it runs over the end, is longer than 255 bytes, or is compressed (a question has nothing to point to).
 */
export function readQuestionName(message: Buffer, offset: number): { name: string; end: number } | undefined {
  let at = offset;
  let length = 0;
  for (;;) {
    const size = message[at];
    if (size === undefined || size > LABEL_MAX_BYTES) return undefined;
    at++;
    if (size === 0) break;
    const end = at + size;
    if (end >= message.length || end - offset >= NAME_MAX_BYTES) return undefined;
    if (length > 0) text[length++] = DOT;
    for (; at < end; at++) {
      const byte = message[at]!;
      if (byte >= 0x41 && byte <= 0x5a) text[length++] = byte + 32;
      else if (byte > 0x20 && byte < 0x7f && byte !== DOT && byte !== 0x5c) text[length++] = byte;
      else length += text.write(`\\${String(byte).padStart(3, '0')}`, length, 'latin1');
    }
  }
  return { name: text.toString('latin1', 0, length), end: at };
}

/** The offset behind a name that may be compressed; undefined when it runs over the end. */
export function skipName(message: Buffer, offset: number): number | undefined {
  let at = offset;
  for (;;) {
    const size = message[at];
    if (size === undefined) return undefined;
    if (size === 0) return at + 1;
    if (size >= 0xc0) return at + 2 <= message.length ? at + 2 : undefined;
    if (size > LABEL_MAX_BYTES) return undefined;
    at += 1 + size;
  }
}

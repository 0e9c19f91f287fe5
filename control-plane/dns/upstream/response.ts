import { FLAG, HEADER_BYTES, RCODE, skipName, TYPE } from '../wire.ts';

/** What a cache must know of an answer that it keeps as it came. */
export interface ResponseFacts {
  rcode: number;
  isTruncated: boolean;
  /** How many records answer the question. */
  answers: number;
  /** Where the records' TTLs stand. */
  ttlOffsets: number[];
  /** The least TTL of the answers; for an answer without records that of the SOA, no more than its minimum. Undefined: it says none. */
  ttlSeconds: number | undefined;
}

/** Undefined when the message is broken. */
export function inspectResponse(message: Buffer): ResponseFacts | undefined {
  if (message.length < HEADER_BYTES || message.readUInt16BE(4) !== 1) return undefined;
  const questionName = skipName(message, HEADER_BYTES);
  if (questionName === undefined) return undefined;
  const flags = message.readUInt16BE(2);
  const answers = message.readUInt16BE(6);
  const authority = message.readUInt16BE(8);
  const total = answers + authority + message.readUInt16BE(10);
  const ttlOffsets: number[] = [];
  const positive: number[] = [];
  let negative: number | undefined;
  let at = questionName + 4;
  for (let index = 0; index < total; index++) {
    const name = skipName(message, at);
    if (name === undefined || name + 10 > message.length) return undefined;
    const end = name + 10 + message.readUInt16BE(name + 8);
    if (end > message.length) return undefined;
    const type = message.readUInt16BE(name);
    if (type !== TYPE.OPT) {
      const ttl = message.readUInt32BE(name + 4);
      ttlOffsets.push(name + 4);
      if (index < answers) positive.push(ttl);
      else if (index < answers + authority && type === TYPE.SOA && end - name >= 14)
        negative = Math.min(ttl, message.readUInt32BE(end - 4));
    }
    at = end;
  }
  const rcode = flags & 0xf;
  const isNegative = answers === 0 || rcode === RCODE.NXDOMAIN;
  return {
    rcode,
    isTruncated: (flags & FLAG.truncated) !== 0,
    answers,
    ttlOffsets,
    ttlSeconds: isNegative ? negative : Math.min(...positive),
  };
}

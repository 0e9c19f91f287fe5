import { CLASS_IN, FLAG, HEADER_BYTES, readQuestionName, skipName, TYPE } from './wire.ts';

/** What a client asked, with its own bytes: answers repeat them as they came (letters' case included, RFC 5452's 0x20). */
export interface Query {
  /** The whole message. */
  message: Buffer;
  id: number;
  /** RD and CD go back as they came. */
  flags: number;
  /** Lower case, without the final dot. */
  name: string;
  type: number;
  class: number;
  /** The question is message[12, questionEnd). */
  questionEnd: number;
  edns?: { udpBytes: number; version: number; dnssecOk: boolean };
}

/** Why a message is no query. `drop`: not even an error goes back (it may be an answer, and answers to answers never end). */
export interface BadQuery {
  problem: 'short' | 'response' | 'opcode' | 'question' | 'name' | 'records';
  reply: 'drop' | 'FORMERR' | 'NOTIMP';
}

/** No client sends so many; each costs a walk. */
const MAX_EXTRA_RECORDS = 8;

export function parseQuery(message: Buffer): Query | BadQuery {
  if (message.length < HEADER_BYTES) return { problem: 'short', reply: 'drop' };
  const flags = message.readUInt16BE(2);
  if (flags & FLAG.response) return { problem: 'response', reply: 'drop' };
  if ((flags >> 11) & 0xf) return { problem: 'opcode', reply: 'NOTIMP' };
  const extra = message.readUInt16BE(10);
  // One question, neither answers nor authority: zone transfers and updates are for others.
  if (message.readUInt32BE(4) !== 0x10000 || message.readUInt16BE(8) !== 0 || extra > MAX_EXTRA_RECORDS)
    return { problem: 'question', reply: 'FORMERR' };
  const read = readQuestionName(message, HEADER_BYTES);
  if (!read || read.end + 4 > message.length) return { problem: 'name', reply: 'FORMERR' };
  const query: Query = {
    message,
    id: message.readUInt16BE(0),
    flags,
    name: read.name,
    type: message.readUInt16BE(read.end),
    class: message.readUInt16BE(read.end + 2),
    questionEnd: read.end + 4,
  };
  if (extra === 0) return query;
  return readExtraRecords(query, extra) ? query : { problem: 'records', reply: 'FORMERR' };
}

/** Takes the EDNS record; others (TSIG, …) are passed over. False when they are broken, or there are two of EDNS. */
function readExtraRecords(query: Query, count: number): boolean {
  const { message } = query;
  let at = query.questionEnd;
  for (let left = count; left > 0; left--) {
    const start = at;
    const end = skipName(message, start);
    if (end === undefined || end + 10 > message.length) return false;
    at = end + 10 + message.readUInt16BE(end + 8);
    if (at > message.length) return false;
    if (message.readUInt16BE(end) !== TYPE.OPT) continue;
    if (query.edns || end !== start + 1) return false;
    query.edns = {
      udpBytes: message.readUInt16BE(end + 2),
      version: message[end + 5]!,
      dnssecOk: (message[end + 6]! & 0x80) !== 0,
    };
  }
  return true;
}

export function isInternet(query: Query): boolean {
  return query.class === CLASS_IN;
}

import type { Query } from './query.ts';
import { EDNS_UDP_BYTES, FLAG, HEADER_BYTES, PLAIN_UDP_BYTES, TYPE } from './wire.ts';

/** An answer without what belongs to one query: its sections as encoded records, so that it can be kept and sent many times. */
export interface AnswerBody {
  rcode: number;
  authoritative: boolean;
  answers: readonly Buffer[];
  authority: readonly Buffer[];
  additional: readonly Buffer[];
  /** Answers may stand in any order: each client gets another one first. */
  rotates?: boolean;
}

export function emptyBody(rcode: number): AnswerBody {
  return { rcode, authoritative: false, answers: [], authority: [], additional: [] };
}

const OPT_BYTES = 11;
/** Of the query's flags, these go back: RD, CD. */
const KEPT_FLAGS = FLAG.desired | 0x0010;

/** How long an answer over UDP may be for this client. */
export function udpLimitBytes(query: Pick<Query, 'edns'>): number {
  if (!query.edns) return PLAIN_UDP_BYTES;
  return Math.min(Math.max(query.edns.udpBytes, PLAIN_UDP_BYTES), EDNS_UDP_BYTES);
}

/**
 * The message that answers `query`, at most `limitBytes` long. What is too long loses its additional records first; then as many
 * answers as fit stay, with the flag that tells the client to ask again by TCP. `turn` chooses which answer comes first.
 */
export function encodeAnswer(query: Query, body: AnswerBody, limitBytes: number, turn = 0): Buffer {
  const { answers, authority } = body;
  const { questionEnd } = query;
  const roomBytes = limitBytes - questionEnd - (query.edns ? OPT_BYTES : 0);
  const neededBytes = lengthOf(answers) + lengthOf(authority);
  const isTruncated = neededBytes > roomBytes;
  const additional = neededBytes + lengthOf(body.additional) > roomBytes ? [] : body.additional;
  const kept = isTruncated ? countFitting(answers, roomBytes) : answers.length;
  const usedBytes = isTruncated ? lengthOf(answers) : neededBytes + lengthOf(additional);
  const message = Buffer.allocUnsafe(questionEnd + Math.min(usedBytes, Math.max(roomBytes, 0)) + OPT_BYTES);

  message.writeUInt16BE(query.id, 0);
  message.writeUInt16BE(
    FLAG.response |
      FLAG.available |
      (query.flags & KEPT_FLAGS) |
      (body.authoritative ? FLAG.authoritative : 0) |
      (isTruncated ? FLAG.truncated : 0) |
      (body.rcode & 0xf),
    2,
  );
  message.writeUInt16BE(1, 4);
  message.writeUInt16BE(kept, 6);
  message.writeUInt16BE(isTruncated ? 0 : authority.length, 8);
  message.writeUInt16BE(additional.length + (query.edns ? 1 : 0), 10);
  message.set(query.message.subarray(HEADER_BYTES, questionEnd), HEADER_BYTES);
  let at = questionEnd;
  const append = (record: Buffer) => {
    message.set(record, at);
    at += record.length;
  };
  const first = body.rotates && answers.length > 1 ? turn % answers.length : 0;
  for (let index = 0; index < kept; index++) append(answers[(first + index) % answers.length]!);
  if (!isTruncated) for (const record of authority) append(record);
  for (const record of additional) append(record);
  if (query.edns) at = writeOpt(message, at, query.edns.dnssecOk, body.rcode);
  return message.subarray(0, at);
}

/** The answer to a message whose question cannot be read: a header alone. */
export function encodeBareError(message: Buffer, rcode: number): Buffer {
  const answer = Buffer.alloc(HEADER_BYTES);
  const flags = message.readUInt16BE(2);
  answer.writeUInt16BE(message.readUInt16BE(0), 0);
  answer.writeUInt16BE(FLAG.response | (flags & (0x7800 | FLAG.desired)) | rcode, 2);
  return answer;
}

function writeOpt(message: Buffer, at: number, dnssecOk: boolean, rcode: number): number {
  message[at] = 0;
  message.writeUInt16BE(TYPE.OPT, at + 1);
  message.writeUInt16BE(EDNS_UDP_BYTES, at + 3);
  message[at + 5] = rcode >> 4;
  message[at + 6] = 0;
  message.writeUInt16BE(dnssecOk ? 0x8000 : 0, at + 7);
  message.writeUInt16BE(0, at + 9);
  return at + OPT_BYTES;
}

function lengthOf(records: readonly Buffer[]): number {
  let bytes = 0;
  for (const record of records) bytes += record.length;
  return bytes;
}

function countFitting(records: readonly Buffer[], roomBytes: number): number {
  let bytes = 0;
  let count = 0;
  // Any of the records may come first (rotation): the longest counts for all.
  const longest = Math.max(...records.map((record) => record.length));
  while (count < records.length && bytes + longest <= roomBytes) {
    bytes += longest;
    count++;
  }
  return count;
}

import { decode, encode } from 'dns-packet';
import type { AnswerBody } from '../answer.ts';
import { FLAG, HEADER_BYTES, RCODE } from '../wire.ts';
import { buildQuery, type Forwarder } from './forwarder.ts';

const MAX_NAME_CHARACTERS = 253;

/**
 * What the host's name servers have behind an alias of ours, appended to it. When they cannot be asked, the alias alone:
 * it is true, and the client may know more.
 */
export async function followAlias(
  forwarder: Forwarder,
  body: AnswerBody,
  target: string,
  type: number,
): Promise<AnswerBody> {
  if (target.length > MAX_NAME_CHARACTERS) return body;
  const query = buildQuery(target, type, encodeName(target));
  let answer = forwarder.cached(query);
  if (!answer) {
    const asked = await forwarder.forward(query, 'udp');
    if (!('answer' in asked)) return body;
    answer = asked.answer;
  }
  if (answer.readUInt16BE(2) & FLAG.truncated) {
    const again = await forwarder.forward(query, 'tcp');
    if ('answer' in again) answer = again.answer;
  }
  const rcode = answer[3]! & 0xf;
  if (rcode !== RCODE.NOERROR && rcode !== RCODE.NXDOMAIN) return body;
  try {
    return { ...body, rcode, authoritative: false, answers: [...body.answers, ...recordsOf(answer)] };
  } catch {
    return body;
  }
}

/** The answers of a message, each with its owner's name in full: pointers would lead nowhere in another message. */
function recordsOf(message: Buffer): Buffer[] {
  return (decode(message).answers ?? []).map((answer) =>
    Buffer.from(encode({ type: 'response', answers: [answer] }).subarray(HEADER_BYTES)),
  );
}

export function encodeName(name: string): Buffer {
  const question = { name, type: 'A' as const, class: 'IN' as const };
  return Buffer.from(encode({ type: 'query', questions: [question] }).subarray(HEADER_BYTES, -4));
}

import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import { type DecodedPacket, decode, encode, type RecordType } from 'dns-packet';
import { parseQuery, type Query } from '../../control-plane/dns/query.ts';

export interface QuestionOptions {
  id?: number;
  /** The UDP size that the client tells; without it the query has no EDNS. */
  udpBytes?: number;
  /** RD; on unless said. */
  recursionDesired?: boolean;
}

/** The bytes of a query. */
export function question(name: string, type: RecordType, options: QuestionOptions = {}): Buffer {
  const { id = 4711, udpBytes, recursionDesired = true } = options;
  const additionals =
    udpBytes === undefined
      ? []
      : [
          {
            type: 'OPT' as const,
            name: '.',
            udpPayloadSize: udpBytes,
            flags: 0,
            options: [],
            extendedRcode: 0,
            ednsVersion: 0,
            flag_do: false,
          },
        ];
  return Buffer.from(
    encode({
      type: 'query',
      id,
      flags: recursionDesired ? 0x100 : 0,
      questions: [{ name, type, class: 'IN' }],
      additionals: additionals as never,
    }),
  );
}

export function parsed(message: Buffer): Query {
  const query = parseQuery(message);
  if ('problem' in query) throw new Error(`no query: ${query.problem}`);
  return query;
}

export function decoded(message: Buffer): DecodedPacket & { rcode: string } {
  return decode(message) as DecodedPacket & { rcode: string };
}

/** `name TYPE data` of each answer, in order. */
export function answersOf(message: Buffer): string[] {
  return (decode(message).answers ?? []).map(text);
}

/** The answers, and with them what a client asks for to have the whole story: rcode and the types in the authority section. */
export function outcomeOf(message: Buffer): { rcode: string; answers: string[]; authority: string[] } {
  const packet = decoded(message);
  return {
    rcode: packet.rcode,
    answers: answersOf(message),
    authority: (packet.authorities ?? []).map(({ name, type }) => `${name} ${type}`),
  };
}

function text(record: { name: string; type: string; data?: unknown }): string {
  const { name, type, data } = record;
  if (type === 'SRV') {
    const { priority, weight, port, target } = data as Record<string, string | number>;
    return `${name} SRV ${priority} ${weight} ${port} ${target}`;
  }
  return `${name} ${type} ${Array.isArray(data) ? data.join('') : String(data)}`;
}

/** An answer that comes at all is there long before, however busy the machine is. */
const NEVER_MS = 30_000;

export function askUdp(
  port: number,
  message: Buffer,
  { address = '127.0.0.1', timeoutMs = NEVER_MS } = {},
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = createSocket('udp4');
    const timer = setTimeout(() => finish(() => reject(new Error('no answer'))), timeoutMs);
    const finish = (end: () => void) => {
      clearTimeout(timer);
      socket.close();
      end();
    };
    socket.once('error', (error) => finish(() => reject(error)));
    socket.once('message', (answer) => finish(() => resolve(answer)));
    socket.send(message, port, address);
  });
}

/** Sends everything at once over one connection and resolves with the answers when there are as many, or the server closes. */
export function askTcp(port: number, messages: Buffer[]): Promise<Buffer[]> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    let received = Buffer.alloc(0);
    const answers: Buffer[] = [];
    socket.on('error', reject);
    socket.on('close', () => resolve(answers));
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk]);
      while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
        const length = received.readUInt16BE(0);
        answers.push(received.subarray(2, 2 + length));
        received = received.subarray(2 + length);
      }
      if (answers.length === messages.length) socket.destroy();
    });
    for (const message of messages) {
      const length = Buffer.alloc(2);
      length.writeUInt16BE(message.length);
      socket.write(Buffer.concat([length, message]));
    }
  });
}

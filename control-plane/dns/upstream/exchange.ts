import { createSocket } from 'node:dgram';
import { connect, isIPv6 } from 'node:net';
import { HEADER_BYTES } from '../wire.ts';
import type { UpstreamServer } from './host-resolvers.ts';

export type Transport = 'udp' | 'tcp';

/**
 * Sends a query and resolves with the server's answer. Each query has a socket, and so a source port, of its own; messages with another
 * id or another question are not taken for the answer. Rejects after `timeoutMs`, or when the server cannot be reached.
 */
export function exchange(
  server: UpstreamServer,
  query: Buffer,
  questionEnd: number,
  options: { transport: Transport; timeoutMs: number },
): Promise<Buffer> {
  const isAnswer = (message: Buffer) =>
    message.length >= questionEnd &&
    (message[2]! & 0x80) !== 0 &&
    message.readUInt16BE(0) === query.readUInt16BE(0) &&
    sameQuestion(message, query, questionEnd);
  return options.transport === 'udp'
    ? overUdp(server, query, isAnswer, options.timeoutMs)
    : overTcp(server, query, isAnswer, options.timeoutMs);
}

function overUdp(
  server: UpstreamServer,
  query: Buffer,
  isAnswer: (message: Buffer) => boolean,
  timeoutMs: number,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(isIPv6(server.address.replace(/%.*$/, '')) ? 'udp6' : 'udp4');
    const end = (finish: () => void) => {
      clearTimeout(timer);
      socket.removeAllListeners();
      socket.on('error', ignore);
      socket.close();
      finish();
    };
    const timer = setTimeout(() => end(() => reject(new Error(`no answer within ${timeoutMs} ms`))), timeoutMs);
    socket.on('error', (error) => end(() => reject(error)));
    socket.on('message', (message) => {
      if (isAnswer(message)) end(() => resolve(message));
    });
    // Connected, so that the kernel takes packets from this server alone and tells when its port is closed.
    const onConnected = (error?: Error) => (error ? end(() => reject(error)) : socket.send(query, ignore));
    socket.connect(server.port, server.address, onConnected);
  });
}

function ignore(): void {}

function overTcp(
  server: UpstreamServer,
  query: Buffer,
  isAnswer: (message: Buffer) => boolean,
  timeoutMs: number,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: server.address, port: server.port });
    const end = (finish: () => void) => {
      clearTimeout(timer);
      socket.removeAllListeners();
      socket.on('error', ignore);
      socket.destroy();
      finish();
    };
    const timer = setTimeout(() => end(() => reject(new Error(`no answer within ${timeoutMs} ms`))), timeoutMs);
    let received: Buffer = Buffer.alloc(0);
    socket.on('error', (error) => end(() => reject(error)));
    socket.on('close', () => end(() => reject(new Error('the server closed the connection without an answer'))));
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk]);
      if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return;
      const message = received.subarray(2, 2 + received.readUInt16BE(0));
      end(() => (isAnswer(message) ? resolve(message) : reject(new Error('the server answered another question'))));
    });
    const length = Buffer.alloc(2);
    length.writeUInt16BE(query.length);
    socket.write(Buffer.concat([length, query]));
  });
}

/** Servers may change the case of letters. */
function sameQuestion(message: Buffer, query: Buffer, questionEnd: number): boolean {
  for (let at = HEADER_BYTES; at < questionEnd; at++) {
    const one = message[at]!;
    const other = query[at]!;
    if (one === other) continue;
    const isLetter = (one | 32) >= 0x61 && (one | 32) <= 0x7a;
    if (!isLetter || (one | 32) !== (other | 32)) return false;
  }
  return message.readUInt16BE(4) === 1;
}

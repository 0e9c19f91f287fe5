import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Http2SecureServer } from 'node:http2';
import type { Socket } from 'node:net';
import type { Clock } from '../runtime/clock.ts';

const STATUS: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
  HPE_CHUNK_EXTENSIONS_OVERFLOW: '413 Payload Too Large',
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
};
/** As Go's net/http waits (rstAvoidanceDelay). */
const LINGER_MS = 500;

/**
 * Answers what is no HTTP request with the status that says why, and ends the connection.
 *
 * Node closes right behind its answer. A close with unread bytes is a reset, and a reset overtakes the answer: a client that is still sending its
 * huge header would see a broken connection and never learn why. So what came is left unread for a while, with the answer and a FIN sent:
 *
 *     client  ── header, header, header … ──────────▶ (unread)
 *     server      ◀── 431, FIN ──  500 ms  ──▶ close
 */
export function answerClientErrors(server: Server | Http2SecureServer, clock: Clock): void {
  const answers = new WeakMap<Socket, ServerResponse>();
  (server as Server).on('request', (request: IncomingMessage, response: ServerResponse) => {
    if (request.httpVersionMajor === 1) answers.set(request.socket, response);
  });
  server.on('clientError', ({ code }: NodeJS.ErrnoException, socket: Socket) => {
    const answer = answers.get(socket);
    // Into the middle of an answer nothing else may be written.
    const midAnswer = answer?.headersSent && !answer.writableFinished;
    if (!socket.writable || midAnswer) return void socket.destroy();
    // The parser would report each further piece as another error: a listener takes the bytes from it, and then nobody takes them.
    socket.on('data', () => {}).removeAllListeners('data');
    socket.pause();
    socket.end(`HTTP/1.1 ${STATUS[code ?? ''] ?? '400 Bad Request'}\r\nConnection: close\r\n\r\n`);
    const cancel = clock.after(LINGER_MS, () => socket.destroy());
    socket.once('close', cancel);
  });
}

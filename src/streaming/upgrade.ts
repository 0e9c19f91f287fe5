import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';

/** A request for another protocol on the same connection, as Node's `upgrade` event has it. */
export interface UpgradeRequest {
  request: IncomingMessage;
  socket: Duplex;
  /** What came behind the request already. */
  head: Buffer;
}

/** For a refused client to read why, and to close; then the connection is closed for it. */
const REFUSAL_LINGER_MS = 1_000;

/** Which protocol is asked for. */
export function upgradeKind({ headers }: IncomingMessage): 'spdy' | 'websocket' | undefined {
  if (!/\bupgrade\b/i.test(headers.connection ?? '')) return undefined;
  const wanted = (headers.upgrade ?? '').toLowerCase();
  if (wanted === 'websocket') return 'websocket';
  return wanted === 'spdy/3.1' ? 'spdy' : undefined;
}

/** The values of a header that may come several times, or with commas. */
export function listHeader(request: IncomingMessage, name: string): string[] {
  const values = request.headersDistinct[name] ?? [];
  return values
    .flatMap((value) => value.split(','))
    .map((value) => value.trim())
    .filter((value) => value !== '');
}

/** Answers 101 and leaves the connection to the new protocol. */
export function switchProtocols(socket: Duplex, headers: Record<string, string>): void {
  const lines = Object.entries({ Connection: 'Upgrade', ...headers }).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.write(`HTTP/1.1 101 Switching Protocols\r\n${lines.join('')}\r\n`);
}

/** Refuses an upgrade with a plain answer, and closes. */
export function refuseUpgrade(
  socket: Duplex,
  status: number,
  reason: string,
  text: string,
  headers: Record<string, string> = {},
): void {
  const body = Buffer.from(text);
  const lines = Object.entries({
    'Content-Type': 'text/plain; charset=utf-8',
    'X-Content-Type-Options': 'nosniff',
    'Content-Length': String(body.length),
    Connection: 'close',
    ...headers,
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.on('error', () => {});
  // What the client has sent meanwhile is thrown away: closing over unread bytes could cost it the answer. It need not close its half.
  socket.resume();
  const linger = setTimeout(() => socket.destroy(), REFUSAL_LINGER_MS);
  socket.once('close', () => clearTimeout(linger));
  socket.once('end', () => socket.writableFinished && socket.destroy());
  socket.end(Buffer.concat([Buffer.from(`HTTP/1.1 ${status} ${reason}\r\n${lines.join('')}\r\n`), body]));
}

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Clock } from '../../src/runtime/clock.ts';

/** Of the request line and the headers. A command's argument is at most 128 KiB (MAX_ARG_STRLEN), and escaped in the URL of an exec. */
export const MAX_HEADER_BYTES = 256 * 1024;
const MAX_HEADERS = 200;
/** Node drops what is beyond; one more than allowed, to notice. */
export const MAX_HEADERS_READ = MAX_HEADERS + 1;
/** Nothing here takes more than a few words. */
const MAX_BODY_BYTES = 64 * 1024;

export interface Malformed {
  status: 400 | 413 | 431;
  text: string;
}

/**
 * What is wrong with a request, whoever sends it; undefined: nothing. A target with scheme and host, as proxies are sent, becomes its path.
 * Paths are taken as they stand: nothing is normalised, so that what is authorized is what is served.
 */
export function refuseMalformed(request: IncomingMessage): Malformed | undefined {
  const target = (request.url ?? '').replace(/^https?:\/\/[^/?#]*/i, '');
  if (!target.startsWith('/') || target.startsWith('//'))
    return { status: 400, text: 'the request target must be a path that begins with one slash\n' };
  request.url = target;
  if (request.rawHeaders.length / 2 > MAX_HEADERS)
    return { status: 431, text: `more than ${MAX_HEADERS} headers are not read\n` };
  if (Number(request.headers['content-length'] ?? 0) > MAX_BODY_BYTES)
    return { status: 413, text: `a body of more than ${MAX_BODY_BYTES} bytes is not read\n` };
  return undefined;
}

/** Path and query as they were sent. */
export function splitTarget(url: string): { pathname: string; query: URLSearchParams } {
  const mark = url.indexOf('?');
  if (mark < 0) return { pathname: url, query: new URLSearchParams() };
  return { pathname: url.slice(0, mark), query: new URLSearchParams(url.slice(mark + 1)) };
}

/** A connection whose request has a body ends with the answer: what is left of the body, which may have no end, is nobody's. */
export function closeAfterBody(request: IncomingMessage, response: ServerResponse): void {
  const { 'content-length': length, 'transfer-encoding': encoding } = request.headers;
  if (encoding !== undefined || Number(length ?? 0) > 0) response.shouldKeepAlive = false;
}

/** Ends the connection of a client that fetches nothing of its answer for so long. */
export function endWhenStalled(response: ServerResponse, stallMs: number, clock: Clock): void {
  let fetchedBefore = -1;
  let cancel = () => {};
  const look = () => {
    const { socket } = response;
    if (!socket) return;
    // `bytesWritten` counts what waits as well.
    const fetched = socket.bytesWritten - socket.writableLength;
    if (socket.writableLength > 0 && fetched === fetchedBefore) {
      socket.destroy();
      return;
    }
    fetchedBefore = fetched;
    cancel = clock.after(stallMs, look);
  };
  cancel = clock.after(stallMs, look);
  response.once('close', () => cancel());
}

import { request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { joinConnections } from '../../../src/streaming/join.ts';
import type { ConnectSubresourceRequest } from '../definition.ts';
import { badRequest, serviceUnavailable } from '../status-error.ts';
import { answerHeaders, passedOn, specialAddress } from './headers.ts';

export interface Endpoint {
  scheme: 'http' | 'https';
  /** An address of a pod. */
  host: string;
  port: number;
}

const CONNECT_TIMEOUT_MS = 30_000;

/**
 * Hands a request on to a server in a pod and its answer back, as they are: any method, bodies of any length, upgrades. Whose certificate an HTTPS
 * server shows is not looked at, as upstream: it cannot be known. Redirects within the server lead back here.
 */
export async function proxyToEndpoint(
  { path, query, request, response, upgrade, signal }: Omit<ConnectSubresourceRequest, 'object' | 'context' | 'name'>,
  { scheme, host, port }: Endpoint,
): Promise<void> {
  if ((await specialAddress(host)) !== undefined) throw badRequest('address not allowed');
  const incoming = request as IncomingMessage;
  const out = response as ServerResponse;
  const search = query.size > 0 ? `?${query}` : '';
  const prefix = prefixOf(incoming.url ?? '', path);
  // A page's relative links must have something to be relative to (upstream's issue 4958).
  if (path === '' && !upgrade && (incoming.method === 'GET' || incoming.method === 'HEAD')) {
    out.writeHead(301, { location: `${prefix}/${search}` }).end();
    return;
  }
  const call = (scheme === 'https' ? httpsRequest : httpRequest)({
    host,
    port,
    method: incoming.method,
    path: `${path || '/'}${search}`,
    headers: {
      ...passedOn(incoming),
      host: incoming.headers.host ?? (incoming.headers[':authority'] as string | undefined) ?? host,
      'x-forwarded-uri': `${prefix}${path}`,
      ...(upgrade && { connection: 'Upgrade', upgrade: incoming.headers.upgrade ?? '' }),
    },
    agent: false,
    rejectUnauthorized: false,
    timeout: CONNECT_TIMEOUT_MS,
    signal,
  });
  const answer = await answerOf(call, incoming, signal);
  call.setTimeout(0);
  if ('head' in answer) {
    // Only a client that asked for it gets here.
    const client = upgrade!.socket;
    out.statusCode = 101;
    out.detachSocket(client as never);
    client.write(`HTTP/1.1 101 Switching Protocols\r\n${answer.rawHeaders}\r\n`);
    if (upgrade!.head.length > 0) answer.socket.write(upgrade!.head);
    if (answer.head.length > 0) client.write(answer.head);
    return joinConnections(client, answer.socket, signal);
  }
  const headers = answerHeaders(answer.headers);
  const location = locationHere(answer.headers.location, `${scheme}://${host}:${port}${path || '/'}`, prefix);
  out.writeHead(answer.statusCode ?? 502, { ...headers, ...(location !== undefined && { location }) });
  if (!('stream' in response)) out.flushHeaders();
  try {
    await pipeline(answer, out, { signal });
  } catch (error) {
    // The client left, or the server broke off: the missing end of the stream tells the client.
    if (!signal.aborted) out.destroy(error as Error);
  }
}

/** The path up to and with `proxy`. */
function prefixOf(url: string, path: string): string {
  const [whole = ''] = url.split('?');
  return path === '' ? whole : whole.slice(0, -path.length);
}

type Answer = IncomingMessage | { socket: Duplex; head: Buffer; rawHeaders: string };

function answerOf(
  call: ReturnType<typeof httpRequest>,
  incoming: IncomingMessage,
  signal: AbortSignal,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    call.once('response', resolve);
    call.once('upgrade', (answer, socket, head) => {
      const lines = answer.rawHeaders.map((text, at) => (at % 2 === 0 ? `${text}: ` : `${text}\r\n`));
      resolve({ socket, head, rawHeaders: lines.join('') });
    });
    call.once('timeout', () => call.destroy(new Error('no answer in time')));
    call.on('error', (error) =>
      reject(signal.aborted ? error : serviceUnavailable(`error trying to reach service: ${error.message}`)),
    );
    // Requests without a body end at once, whatever they say of its length.
    if (incoming.method === 'GET' || incoming.method === 'HEAD') call.end();
    else incoming.pipe(call);
  });
}

/** A redirect as the client must follow it; one to another server is the client's own affair. */
function locationHere(location: string | undefined, from: string, prefix: string): string | undefined {
  if (location === undefined || !URL.canParse(location, from)) return location;
  const to = new URL(location, from);
  return to.host === new URL(from).host ? `${prefix}${to.pathname}${to.search}${to.hash}` : location;
}

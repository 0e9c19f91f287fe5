import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import type { Logger } from '../../../src/runtime/log.ts';
import { CNI_ERROR, CniError } from '../../types.ts';
import { type AnswerBody, parseKey, parseRequest, type RequestBody, renderAck } from './daemon-words.ts';
import type { DhcpLeases } from './leases.ts';

/** What the reference plugin asks for when it connects (Go's net/rpc over HTTP). */
const GO_RPC = Buffer.from('CONNECT /_goRPC_ HTTP/1.0');
const NOT_GO_RPC = "this is Berth's DHCP daemon; its plugin is the one that 'berth cni install' puts beside it";

/**
 * Answers plugins that run for one call: `POST /v1/{allocate,release,held,collect,ping}`, one JSON object each way (`daemon-words.ts`). Whoever
 * reaches the socket is trusted with it; it is root's.
 * @param options.hostPrefix stands before paths of namespaces, for a daemon in a container that sees the host's files there
 */
export function createDhcpDaemon(
  leases: DhcpLeases,
  options: { hostPrefix: string },
  { log }: { log: Logger },
): Server {
  async function carryOut(path: string, body: RequestBody, gone: AbortSignal): Promise<Omit<AnswerBody, 'daemon'>> {
    switch (path) {
      case '/v1/allocate': {
        const request = parseRequest(body);
        return {
          ack: renderAck(await leases.allocate({ ...request, netns: options.hostPrefix + request.netns }, gone)),
        };
      }
      case '/v1/held': {
        const ack = leases.held(parseKey(body));
        return ack ? { ack: renderAck(ack) } : {};
      }
      case '/v1/release':
        await leases.release(parseKey(body));
        return {};
      case '/v1/collect':
        await leases.collect(body.network ?? '', body.valid ?? []);
        return {};
      case '/v1/ping':
        return {};
      default:
        throw new CniError(CNI_ERROR.unsupportedField, `dhcp: the daemon does not know ${path}`);
    }
  }

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const gone = new AbortController();
    // A plugin that was killed waits for no address.
    response.once('close', () => {
      if (!response.writableFinished) gone.abort(new CniError(CNI_ERROR.unknown, 'dhcp: who asked is gone'));
    });
    const body: AnswerBody = { daemon: 'berth' };
    try {
      Object.assign(
        body,
        await carryOut(request.url ?? '', JSON.parse(await text(request)) as RequestBody, gone.signal),
      );
    } catch (error) {
      const {
        code,
        message: msg,
        details,
      } = error instanceof CniError
        ? error
        : { code: CNI_ERROR.unknown, message: String((error as Error).message), details: undefined };
      if (!(error instanceof CniError)) log.warn({ err: error, path: request.url }, 'a call of the DHCP plugin failed');
      body.error = { code, msg, ...(details !== undefined && { details }) };
    }
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  }

  // An exchange takes as long as its patience, not as long as a web page.
  const server = createServer({ requestTimeout: 0, keepAliveTimeout: 0 }, (request, response) => {
    answer(request, response).catch((error) =>
      log.warn({ err: error }, 'a call of the DHCP plugin could not be answered'),
    );
  });
  // Its lines end in a way that Node takes for no HTTP.
  server.on('clientError', (error: Error & { rawPacket?: Buffer }, socket) => {
    if (!socket.writable) return;
    const isGoRpc = error.rawPacket?.subarray(0, GO_RPC.length).equals(GO_RPC) === true;
    if (isGoRpc) log.warn('the reference DHCP plugin called; it needs its own daemon');
    socket.end(`HTTP/1.0 ${isGoRpc ? `501 ${NOT_GO_RPC}` : '400 Bad Request'}\r\n\r\n`);
  });
  return server;
}

import { request as httpRequest, type RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Duplex, Readable } from 'node:stream';
import { Agent } from 'undici';
import type { Node } from '../../../src/kube/types.ts';
import type { ObjectReader } from '../definition.ts';
import { internalError, notFound, serviceUnavailable } from '../status-error.ts';

/** How the server reaches the agent of a node. */
export interface NodeConnection {
  /**
   * GETs a path of the agent's HTTPS port. Throws a `StatusError` when the node is unknown, has no address, or does not
   * answer; an answer with an error status is returned.
   */
  get(
    nodeName: string,
    path: string,
    query: URLSearchParams,
    options: { objects: ObjectReader; signal: AbortSignal },
  ): Promise<{ status: number; contentType: string | undefined; body: Readable }>;
  /** Asks for another protocol on a connection of its own. Throws as `get` does. */
  upgrade(
    nodeName: string,
    ask: { method: string; path: string; query: URLSearchParams; headers: Record<string, string | string[]> },
    options: { objects: ObjectReader; signal: AbortSignal },
  ): Promise<
    /** `rawHeaders` are the node's answer, line by line with CRLF; `head` came behind them. */
    | { socket: Duplex; rawHeaders: string; head: Buffer }
    /** It said no, with this status code. */
    | { refused: number; body: Readable }
  >;
  /** Any request, its body and the answer's as streams. Redirects are not followed. Throws as `get` does. */
  request(
    nodeName: string,
    ask: {
      method: string;
      path: string;
      query: URLSearchParams;
      headers: Record<string, string | string[]>;
      body: Readable;
    },
    options: { objects: ObjectReader; signal: AbortSignal },
  ): Promise<{ status: number; headers: Record<string, string | string[] | undefined>; body: Readable }>;
  /** Connects as this client from now on; what is under way ends in peace. */
  useCertificate(pair: Pick<NodeConnectionOptions, 'certPem' | 'keyPem'>): void;
  close(): Promise<void>;
}

export interface NodeConnectionOptions {
  /** Client certificate that the agents accept (CN kube-apiserver-kubelet-client). */
  readonly certPem: string;
  readonly keyPem: string;
  /** Of the agents' serving certificates; absent: they are not checked (kubeadm's default). */
  readonly caPem?: string;
  /** The node whose agent is in this very process: neither sockets nor TLS between the two, and the agent knows who asks. */
  readonly ownNode?: OwnNode;
}

export interface OwnNode {
  /** `https://ADDRESS:PORT`: what the Node object must say; another one of that name is reached like any other. */
  readonly origin: string;
  /** A connection to the agent; undefined while it does not serve yet. */
  connect(): Duplex | undefined;
}

const NODES = { group: '', plural: 'nodes', kind: 'Node' };
const ADDRESS_ORDER = ['InternalIP', 'ExternalIP', 'Hostname'];
const DEFAULT_PORT = 10250;
const CONNECT_TIMEOUT_MS = 10_000;
const HEADERS_TIMEOUT_MS = 30_000;

export function createNodeConnection(options: NodeConnectionOptions): NodeConnection {
  const tlsAs = ({ certPem, keyPem }: Pick<NodeConnectionOptions, 'certPem' | 'keyPem'>) => ({
    cert: certPem,
    key: keyPem,
    ...(options.caPem ? { ca: options.caPem } : { rejectUnauthorized: false }),
  });
  const agentAs = (connect: ReturnType<typeof tlsAs>) =>
    new Agent({
      connect: { ...connect, timeout: CONNECT_TIMEOUT_MS },
      headersTimeout: HEADERS_TIMEOUT_MS,
      // A followed log may be silent for days.
      bodyTimeout: 0,
    });
  let tls = tlsAs(options);
  let agent = agentAs(tls);
  const connectInside = (origin: string) =>
    origin === options.ownNode?.origin ? options.ownNode.connect() : undefined;

  async function send(
    nodeName: string,
    {
      method,
      path,
      query,
      headers,
      body,
    }: Pick<Parameters<NodeConnection['request']>[1], 'method' | 'path' | 'query'> &
      Partial<Parameters<NodeConnection['request']>[1]>,
    { objects, signal }: { objects: ObjectReader; signal: AbortSignal },
  ): ReturnType<NodeConnection['request']> {
    const node = await objects.get<Node>(NODES, '', nodeName);
    if (!node) throw notFound(NODES, nodeName);
    const origin = agentOrigin(node);
    const inside = connectInside(origin);
    try {
      if (inside) return await requestOver(inside, { method, path, query, headers, body }, signal);
      const answer = await agent.request({
        origin,
        path: `${path || '/'}${query.size > 0 ? `?${query}` : ''}`,
        method: method as 'GET',
        signal,
        ...(headers && { headers }),
        // A request without a body has none to wait for.
        ...(body && method !== 'GET' && method !== 'HEAD' && { body }),
      });
      return { status: answer.statusCode, headers: answer.headers, body: answer.body };
    } catch (error) {
      if (signal.aborted) throw error;
      const { message } = error as Error;
      throw internalError(`the agent of node ${JSON.stringify(nodeName)} at ${origin} does not answer: ${message}`);
    }
  }

  return {
    async upgrade(nodeName, { method, path, query, headers }, { objects, signal }) {
      const node = await objects.get<Node>(NODES, '', nodeName);
      if (!node) throw notFound(NODES, nodeName);
      const origin = agentOrigin(node);
      const inside = connectInside(origin);
      return new Promise((resolve, reject) => {
        const call = inside
          ? httpRequest({ ...over(inside), path: `${path}?${query}`, method, headers })
          : httpsRequest(`${origin}${path}?${query}`, {
              ...tls,
              method,
              headers,
              agent: false,
              timeout: HEADERS_TIMEOUT_MS,
            });
        const abort = () => call.destroy();
        signal.addEventListener('abort', abort, { once: true });
        call.once('timeout', () => call.destroy(new Error('it did not answer in time')));
        call.once('upgrade', (answer, socket, head) => {
          signal.removeEventListener('abort', abort);
          if (!inside) socket.setTimeout(0);
          const lines = answer.rawHeaders.map((text, at) => (at % 2 === 0 ? `${text}: ` : `${text}\r\n`));
          resolve({ socket, rawHeaders: lines.join(''), head });
        });
        call.once('response', (answer) => resolve({ refused: answer.statusCode ?? 500, body: answer }));
        call.on('error', (error) =>
          reject(
            internalError(
              `the agent of node ${JSON.stringify(nodeName)} at ${origin} does not answer: ${error.message}`,
            ),
          ),
        );
        call.end();
      });
    },
    async get(nodeName, path, query, options) {
      const { status, headers, body } = await send(nodeName, { method: 'GET', path, query }, options);
      const contentType = headers['content-type'];
      return { status, contentType: Array.isArray(contentType) ? contentType[0] : contentType, body };
    },
    request: send,
    useCertificate(pair) {
      const before = agent;
      tls = tlsAs(pair);
      agent = agentAs(tls);
      void before.close();
    },
    close: () => agent.destroy(),
  };
}

/** `https://ADDRESS:PORT` from the node's status. */
export function agentOrigin(node: Node): string {
  const addresses = node.status?.addresses ?? [];
  const address = ADDRESS_ORDER.map((type) => addresses.find((one) => one.type === type)?.address).find(Boolean);
  if (!address) throw serviceUnavailable(`node ${JSON.stringify(node.metadata.name)} has no address yet`);
  const port = node.status?.daemonEndpoints?.kubeletEndpoint?.Port || DEFAULT_PORT;
  return `https://${address.includes(':') ? `[${address}]` : address}:${port}`;
}

const over = (connection: Duplex) => ({ createConnection: () => connection as never, host: 'localhost' });

/** One request and its answer over a connection of its own. */
function requestOver(
  connection: Duplex,
  {
    method,
    path,
    query,
    headers,
    body,
  }: Pick<Parameters<NodeConnection['request']>[1], 'method' | 'path' | 'query'> &
    Partial<Parameters<NodeConnection['request']>[1]>,
  signal: AbortSignal,
): ReturnType<NodeConnection['request']> {
  return new Promise((resolve, reject) => {
    const options: RequestOptions = { method, path: `${path || '/'}${query.size > 0 ? `?${query}` : ''}`, signal };
    const call = httpRequest({ ...over(connection), ...options, headers: { ...headers, connection: 'close' } });
    call.once('error', reject);
    call.once('response', (answer) =>
      resolve({ status: answer.statusCode ?? 500, headers: answer.headers, body: answer }),
    );
    if (body && method !== 'GET' && method !== 'HEAD') body.pipe(call);
    else call.end();
  });
}

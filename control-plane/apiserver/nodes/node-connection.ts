import type { Readable } from 'node:stream';
import { Agent, request } from 'undici';
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
  close(): Promise<void>;
}

export interface NodeConnectionOptions {
  /** Client certificate that the agents accept (CN kube-apiserver-kubelet-client). */
  readonly certPem: string;
  readonly keyPem: string;
  /** Of the agents' serving certificates; absent: they are not checked (kubeadm's default). */
  readonly caPem?: string;
}

const NODES = { group: '', plural: 'nodes', kind: 'Node' };
const ADDRESS_ORDER = ['InternalIP', 'ExternalIP', 'Hostname'];
const DEFAULT_PORT = 10250;
const CONNECT_TIMEOUT_MS = 10_000;
const HEADERS_TIMEOUT_MS = 30_000;

export function createNodeConnection(options: NodeConnectionOptions): NodeConnection {
  const agent = new Agent({
    connect: {
      cert: options.certPem,
      key: options.keyPem,
      ...(options.caPem ? { ca: options.caPem } : { rejectUnauthorized: false }),
      timeout: CONNECT_TIMEOUT_MS,
    },
    headersTimeout: HEADERS_TIMEOUT_MS,
    // A followed log may be silent for days.
    bodyTimeout: 0,
  });
  return {
    async get(nodeName, path, query, { objects, signal }) {
      const node = await objects.get<Node>(NODES, '', nodeName);
      if (!node) throw notFound(NODES, nodeName);
      const origin = agentOrigin(node);
      try {
        const answer = await request(`${origin}${path}?${query}`, { dispatcher: agent, signal });
        const contentType = answer.headers['content-type'];
        return {
          status: answer.statusCode,
          contentType: Array.isArray(contentType) ? contentType[0] : contentType,
          body: answer.body,
        };
      } catch (error) {
        if (signal.aborted) throw error;
        const { message } = error as Error;
        throw internalError(`the agent of node ${JSON.stringify(nodeName)} at ${origin} does not answer: ${message}`);
      }
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

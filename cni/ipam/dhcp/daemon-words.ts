import { type AttachmentKey, CNI_ERROR, CniError } from '../../types.ts';
import type { LeaseKey } from './lease-files.ts';
import type { LeaseRequest } from './leases.ts';
import { type DhcpMessage, parseMessage, renderMessage } from './message.ts';

/**
 * What plugin and daemon say to each other over the socket: JSON in HTTP. The reference plugin and its daemon speak Go's own encoding over
 * the same socket; being HTTP as well, either side's error names the other.
 */
export interface RequestBody {
  key?: LeaseKey;
  netns?: string;
  options?: { request: readonly number[]; provide: readonly (readonly [code: number, base64: string])[] };
  only?: string;
  network?: string;
  valid?: readonly AttachmentKey[];
}

export interface AnswerBody {
  daemon: 'berth';
  /** The server's acknowledgement, in base64. */
  ack?: string;
  error?: { code: number; msg: string; details?: string };
}

export function renderRequest({ key, netns, options, only }: LeaseRequest): RequestBody {
  const provide = options.provide.map(([code, value]) => [code, Buffer.from(value).toString('base64')] as const);
  return { key, netns, options: { request: options.request, provide }, ...(only !== undefined && { only }) };
}

/** @throws CniError 6 that names what is missing. */
export function parseRequest(body: RequestBody): LeaseRequest {
  const { netns, options, only } = body;
  if (typeof netns !== 'string' || !netns.startsWith('/')) throw wrong('netns');
  if (!Array.isArray(options?.request) || !Array.isArray(options.provide)) throw wrong('options');
  const provide = options.provide.map(([code, text]) => [code, Uint8Array.from(Buffer.from(text, 'base64'))] as const);
  return {
    key: parseKey(body),
    netns,
    options: { request: options.request, provide },
    ...(only !== undefined && { only }),
  };
}

/** @throws CniError 6. */
export function parseKey({ key }: RequestBody): LeaseKey {
  const { network, containerId, ifname } = key ?? ({} as Partial<LeaseKey>);
  if (!network || !containerId || !ifname) throw wrong('key');
  return { network, containerId, ifname };
}

export const renderAck = (ack: DhcpMessage) => renderMessage(ack).toString('base64');

/** @throws CniError 6. */
export function parseAck(text: string): DhcpMessage {
  const message = parseMessage(Buffer.from(text, 'base64'));
  if (!message) throw wrong('ack');
  return message;
}

const wrong = (field: string) =>
  new CniError(CNI_ERROR.decodeFailure, `dhcp: ${field} of a message between plugin and daemon is not as it must be`);

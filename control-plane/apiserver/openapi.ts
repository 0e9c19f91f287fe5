import type { Exchange } from './exchange.ts';
import { parseAccept } from './media-type.ts';
import { notAcceptable } from './status-error.ts';

/** The OpenAPI v3 documents of the served kinds; src/kube/schema makes them. */
export interface OpenApiSource {
  /** JSON of /openapi/v3. Its URLs carry each document's hash. */
  readonly index: Uint8Array;
  /** By the path below /openapi/v3/ (`api/v1`, `apis/apps/v1`); `etag` is the quoted hash. */
  document(path: string): { readonly body: Uint8Array; readonly etag: string } | undefined;
}

const V3 = '/openapi/v3';

/**
 * Answers /openapi/v3 and below; true when the path was one of these. /openapi/v2 is not served: kubectl uses v3 wherever
 * that is there.
 */
export async function handleOpenApi(exchange: Exchange, source: OpenApiSource): Promise<boolean> {
  const path = exchange.path.replace(/\/+$/, '');
  if (path !== V3 && !path.startsWith(`${V3}/`)) return false;
  assertAcceptsJson(exchange);
  if (path === V3) {
    await exchange.send(200, bufferOf(source.index), 'application/json', { vary: 'Accept' });
    return true;
  }
  const document = source.document(path.slice(V3.length + 1));
  if (!document) return false;
  await sendDocument(exchange, path, document);
  return true;
}

async function sendDocument(
  exchange: Exchange,
  path: string,
  { body, etag }: { body: Uint8Array; etag: string },
): Promise<void> {
  const asked = exchange.query.get('hash');
  const hash = etag.slice(1, -1);
  if (asked && asked !== hash) {
    exchange.writeHead(301, { location: `${path}?hash=${hash}` });
    exchange.response.end();
    return;
  }
  const headers: Record<string, string> = { etag, vary: 'Accept' };
  // Under its hash a document never changes.
  if (asked) headers['cache-control'] = 'public, immutable, max-age=31536000';
  if (exchange.header('if-none-match') === etag) {
    exchange.writeHead(304, headers);
    exchange.response.end();
    return;
  }
  await exchange.send(200, bufferOf(body), 'application/json', headers);
}

const bufferOf = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

function assertAcceptsJson(exchange: Exchange): void {
  const accepted = parseAccept(exchange.header('accept'));
  if (!accepted.some(({ type }) => ['application/json', 'application/*', '*/*'].includes(type)))
    throw notAcceptable(['application/json']);
}

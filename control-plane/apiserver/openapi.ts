import type { Exchange } from './exchange.ts';
import { parseAccept } from './media-type.ts';
import { notAcceptable } from './status-error.ts';

/** The OpenAPI v3 documents of the served kinds; src/kube/schema makes them. */
export interface OpenApiSource {
  /** JSON of /openapi/v3. Its URLs carry each document's hash. */
  readonly index: Uint8Array;
  /** Protobuf of /openapi/v2, which kubectl asks where v3 does not name a kind (`kind: List`). */
  readonly v2: Uint8Array;
  /** By the path below /openapi/v3/ (`api/v1`, `apis/apps/v1`); `etag` is the quoted hash. */
  document(path: string): { readonly body: Uint8Array; readonly etag: string } | undefined;
}

const V2 = '/openapi/v2';
const V2_TYPE = 'application/com.github.proto-openapi.spec.v2.v1.0+protobuf';
/** What clients ask for; as a media type it is malformed, so nobody may answer with it. */
const V2_TYPE_ASKED = 'application/com.github.proto-openapi.spec.v2@v1.0+protobuf';
const V3 = '/openapi/v3';

/** Answers /openapi/v2 (in protobuf alone), /openapi/v3 and below; true when the path was one of these. */
export async function handleOpenApi(exchange: Exchange, source: OpenApiSource): Promise<boolean> {
  const path = exchange.path.replace(/\/+$/, '');
  if (path === V2) {
    assertAccepts(exchange, V2_TYPE, V2_TYPE_ASKED);
    await exchange.send(200, bufferOf(source.v2), V2_TYPE, { vary: 'Accept' });
    return true;
  }
  if (path !== V3 && !path.startsWith(`${V3}/`)) return false;
  assertAccepts(exchange, 'application/json');
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

function assertAccepts(exchange: Exchange, ...served: string[]): void {
  const accepted = parseAccept(exchange.header('accept'));
  if (!accepted.some(({ type }) => [...served, 'application/*', '*/*'].includes(type))) throw notAcceptable(served);
}

import { createHash } from 'node:crypto';
import type { Exchange } from './exchange.ts';
import { parseAccept } from './media-type.ts';
import type { Registry } from './registry.ts';
import { notAcceptable } from './status-error.ts';

/** Makes the OpenAPI v3 document of a group version, as JSON text. */
export type OpenApiSource = (groupVersion: { readonly group: string; readonly version: string }) => string;

interface Document {
  readonly bytes: Buffer;
  readonly hash: string;
}

export interface OpenApi {
  /** True when the path was one of OpenAPI's and an answer was sent. */
  handle(exchange: Exchange): Promise<boolean>;
}

const V3 = '/openapi/v3';

/**
 * /openapi/v3 and its documents. They depend on the registry only, so each is made once, when first asked for (the index
 * needs their hashes, hence all). /openapi/v2 is not served: kubectl uses v3 wherever that is there.
 */
export function createOpenApi(registry: Registry, source: OpenApiSource): OpenApi {
  const documents = new Map<string, Document>();
  const names = new Map<string, { group: string; version: string }>();
  for (const [group, versions] of registry.groups)
    for (const version of versions)
      names.set(group ? `apis/${group}/${version}` : `api/${version}`, { group, version });

  function documentOf(name: string): Document | undefined {
    const made = documents.get(name);
    const groupVersion = names.get(name);
    if (made || !groupVersion) return made;
    const bytes = Buffer.from(source(groupVersion));
    const document = { bytes, hash: createHash('sha512').update(bytes).digest('hex').toUpperCase() };
    documents.set(name, document);
    return document;
  }

  function index(): string {
    const paths = [...names.keys()].map((name) => [
      name,
      { serverRelativeURL: `${V3}/${name}?hash=${documentOf(name)!.hash}` },
    ]);
    return JSON.stringify({ paths: Object.fromEntries(paths) });
  }

  return {
    async handle(exchange) {
      const path = exchange.path.replace(/\/+$/, '');
      if (path !== V3 && !path.startsWith(`${V3}/`)) return false;
      assertAcceptsJson(exchange);
      if (path === V3) {
        await exchange.send(200, index(), 'application/json', { vary: 'Accept' });
        return true;
      }
      const document = documentOf(path.slice(V3.length + 1));
      if (!document) return false;
      await sendDocument(exchange, path, document);
      return true;
    },
  };
}

async function sendDocument(exchange: Exchange, path: string, { bytes, hash }: Document): Promise<void> {
  const asked = exchange.query.get('hash');
  const etag = `"${hash}"`;
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
  await exchange.send(200, bytes, 'application/json', headers);
}

function assertAcceptsJson(exchange: Exchange): void {
  const accepted = parseAccept(exchange.header('accept'));
  if (!accepted.some(({ type }) => ['application/json', 'application/*', '*/*'].includes(type)))
    throw notAcceptable(['application/json']);
}

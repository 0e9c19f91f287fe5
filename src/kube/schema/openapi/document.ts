import { createHash } from 'node:crypto';
import { groupVersionOf, schemaSources } from '../tables.ts';
import { type OpenApiResource, resourcePaths } from './paths.ts';
import { createSchemaSet, type Json } from './schemas.ts';
import { openApiV2Document } from './v2.ts';

export type { OpenApiResource, OpenApiSubresource } from './paths.ts';

/**
 * Builds the OpenAPI v3 document of one group and version: paths of its resources, and every type that they reach.
 *
 * @returns JSON text, the same for the same resources.
 */
export function openApiDocument(
  groupVersion: { group: string; version: string },
  resources: readonly OpenApiResource[],
): string {
  const schemas = createSchemaSet();
  const paths: Json = {};
  for (const resource of ofGroupVersion(groupVersion, resources))
    Object.assign(paths, resourcePaths(resource, schemas));
  return JSON.stringify({
    openapi: '3.0.0',
    info: { title: 'Kubernetes', version: 'v1.36.0' },
    paths: Object.fromEntries(Object.entries(paths).sort(([a], [b]) => (a < b ? -1 : 1))),
    components: {
      schemas: schemas.models(),
      securitySchemes: { BearerToken: { type: 'apiKey', in: 'header', name: 'authorization' } },
    },
  });
}

/** The index at /openapi/v3. A document may be cached for ever under its URL, which changes when its resources do. */
export function openApiIndex(resources: readonly OpenApiResource[]): {
  paths: Record<string, { serverRelativeURL: string }>;
} {
  const paths: Record<string, { serverRelativeURL: string }> = {};
  for (const { group, version } of resources) {
    const path = documentPath({ group, version });
    const shape = ofGroupVersion({ group, version }, resources).map(shapeOf);
    const hash = createHash('sha256')
      .update(JSON.stringify([schemaSources, shape]))
      .digest('hex')
      .slice(0, 32)
      .toUpperCase();
    paths[path] ??= { serverRelativeURL: `/openapi/v3/${path}?hash=${hash}` };
  }
  return { paths };
}

/** `api/v1`, `apis/apps/v1`: the document's key in the index, and its path below /openapi/v3/. */
export function documentPath({ group, version }: { group: string; version: string }): string {
  return `${group === '' ? 'api' : 'apis'}/${groupVersionOf(group, version)}`;
}

/** The documents of a fixed list of resources, each built when first asked for and kept as bytes. */
export interface OpenApiDocuments {
  /** JSON of /openapi/v3. */
  readonly index: Buffer;
  /** Protobuf of /openapi/v2: see {@link openApiV2Document}. */
  readonly v2: Uint8Array;
  /** By {@link documentPath}; undefined for a group and version without resources. */
  document(path: string): { body: Buffer; etag: string } | undefined;
}

export function createOpenApiDocuments(resources: readonly OpenApiResource[]): OpenApiDocuments {
  const index = openApiIndex(resources);
  const built = new Map<string, { body: Buffer; etag: string }>();
  return {
    index: Buffer.from(JSON.stringify(index)),
    v2: openApiV2Document(resources),
    document(path) {
      const known = built.get(path);
      const resource = resources.find((item) => documentPath(item) === path);
      if (known || !resource) return known;
      const etag = `"${index.paths[path]!.serverRelativeURL.split('hash=')[1]}"`;
      const document = { body: Buffer.from(openApiDocument(resource, resources)), etag };
      built.set(path, document);
      return document;
    },
  };
}

function ofGroupVersion(
  { group, version }: { group: string; version: string },
  resources: readonly OpenApiResource[],
): OpenApiResource[] {
  return resources.filter((resource) => resource.group === group && resource.version === version);
}

/** What a document depends on beside the generated tables and this code. */
function shapeOf({ kind, plural, namespaced, verbs, hasStatus, subresources }: OpenApiResource): unknown {
  const below = Object.entries(subresources ?? {}).map(([name, item]) => [
    name,
    item.verbs,
    item.group,
    item.version,
    item.kind,
  ]);
  return [kind, plural, namespaced, verbs, hasStatus, below];
}

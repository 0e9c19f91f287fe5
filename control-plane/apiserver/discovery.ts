import { createHash } from 'node:crypto';
import type { ResourceDefinition, SubresourceDefinition } from './definition.ts';
import type { Exchange } from './exchange.ts';
import { parseAccept } from './media-type.ts';
import { apiVersionOf, type Registry } from './registry.ts';

interface Page {
  readonly text: string;
  readonly etag: string;
}

const AGGREGATED_TYPE = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList';

/** Discovery documents; the registry does not change at run time, so each is made once. */
export interface Discovery {
  /** True when the path was one of discovery's and an answer was sent. */
  handle(exchange: Exchange): Promise<boolean>;
}

/** `serverAddress` as clients reach it, `host:port`. */
export function createDiscovery(registry: Registry, serverAddress: () => string): Discovery {
  const pages = new Map<string, Page>();
  const page = (path: string, build: () => object): Page => {
    let made = pages.get(path);
    if (!made) {
      const text = JSON.stringify(build());
      made = { text, etag: `"${createHash('sha256').update(text).digest('hex').toUpperCase()}"` };
      pages.set(path, made);
    }
    return made;
  };

  function legacyPage(path: string): Page | undefined {
    if (path === '/api') return page(path, () => coreVersions(registry, serverAddress()));
    if (path === '/apis') return page(path, () => groupList(registry));
    const [, root, first, second, ...more] = path.split('/');
    if (more.length > 0) return undefined;
    const group = root === 'apis' ? first : root === 'api' ? '' : undefined;
    const version = root === 'apis' ? second : first;
    if (group === undefined || (root === 'api' && second !== undefined)) return undefined;
    const versions = registry.groups.get(group);
    if (!versions || (root === 'apis' && group === '')) return undefined;
    if (version === undefined) return page(path, () => groupDocument(group, versions));
    return versions.includes(version) ? page(path, () => resourceList(registry, group, version)) : undefined;
  }

  return {
    async handle(exchange) {
      const path = exchange.path.replace(/\/+$/, '');
      const root = path === '/api' || path === '/apis';
      const aggregated = root && wantsAggregated(exchange.header('accept'));
      const found = aggregated
        ? page(`${path} aggregated`, () => aggregatedList(registry, path === '/api'))
        : legacyPage(path);
      if (!found) return false;
      const headers = { vary: 'Accept', ...(aggregated ? { etag: found.etag } : {}) };
      if (aggregated && exchange.header('if-none-match') === found.etag) {
        exchange.writeHead(304, headers);
        exchange.response.end();
        return true;
      }
      await exchange.send(200, found.text, aggregated ? AGGREGATED_TYPE : 'application/json', headers);
      return true;
    },
  };
}

/** True when v2 is the first form in the Accept header that this server has; v2beta1 is not answered. */
function wantsAggregated(accept: string | undefined): boolean {
  for (const { type, parameters } of parseAccept(accept)) {
    if (type !== 'application/json' && type !== '*/*' && type !== 'application/*') continue;
    if (!parameters.as) return false;
    if (parameters.as === 'APIGroupDiscoveryList' && parameters.g === 'apidiscovery.k8s.io' && parameters.v === 'v2')
      return true;
  }
  return false;
}

function coreVersions(registry: Registry, serverAddress: string) {
  return {
    kind: 'APIVersions',
    versions: registry.groups.get('') ?? [],
    serverAddressByClientCIDRs: [{ clientCIDR: '0.0.0.0/0', serverAddress }],
  };
}

function groupList(registry: Registry) {
  const groups = [...registry.groups].filter(([group]) => group !== '');
  return {
    kind: 'APIGroupList',
    apiVersion: 'v1',
    groups: groups.map(([group, versions]) => groupBody(group, versions)),
  };
}

const groupDocument = (group: string, versions: readonly string[]) => ({
  kind: 'APIGroup',
  apiVersion: 'v1',
  ...groupBody(group, versions),
});

function groupBody(group: string, versions: readonly string[]) {
  const all = versions.map((version) => ({ groupVersion: apiVersionOf({ group, version }), version }));
  return { name: group, versions: all, preferredVersion: all[0] };
}

const inVersion = (registry: Registry, group: string, version: string) =>
  registry.definitions.filter((definition) => definition.group === group && definition.version === version);

function resourceList(registry: Registry, group: string, version: string) {
  const resources = inVersion(registry, group, version).flatMap((definition) => [
    {
      name: definition.plural,
      singularName: definition.singular,
      namespaced: definition.namespaced,
      kind: definition.kind,
      verbs: definition.verbs,
      ...(definition.shortNames.length > 0 ? { shortNames: definition.shortNames } : {}),
      ...(definition.categories.length > 0 ? { categories: definition.categories } : {}),
      ...(definition.virtual ? {} : { storageVersionHash: storageVersionHash(definition) }),
    },
    ...subresourcesOf(definition).map(({ name, verbs, kind }) => ({
      name: `${definition.plural}/${name}`,
      singularName: '',
      namespaced: definition.namespaced,
      ...(kind.foreign ? { group: kind.group, version: kind.version } : {}),
      kind: kind.kind,
      verbs,
    })),
  ]);
  return { kind: 'APIResourceList', apiVersion: 'v1', groupVersion: apiVersionOf({ group, version }), resources };
}

/** Eight bytes of SHA-256 over group/version/kind, as upstream. */
function storageVersionHash({ group, version, kind }: ResourceDefinition): string {
  return createHash('sha256').update(`${group}/${version}/${kind}`).digest().subarray(0, 8).toString('base64');
}

interface ListedSubresource {
  readonly name: string;
  readonly verbs: readonly string[];
  /** `foreign`: not the kind of the resource itself. */
  readonly kind: { group: string; version: string; kind: string; foreign: boolean };
}

function subresourcesOf(definition: ResourceDefinition): ListedSubresource[] {
  const { group, version, kind } = definition;
  const own = { group, version, kind, foreign: false };
  const listed = Object.entries(definition.subresources).map(([name, subresource]) => ({
    name,
    ...describeSubresource(subresource, own),
  }));
  if (definition.hasStatus) listed.push({ name: 'status', verbs: ['get', 'patch', 'update'], kind: own });
  return listed.sort((left, right) => (left.name < right.name ? -1 : 1));
}

function describeSubresource(
  subresource: SubresourceDefinition,
  own: ListedSubresource['kind'],
): Omit<ListedSubresource, 'name'> {
  switch (subresource.style) {
    case 'object':
      return { verbs: subresource.verbs, kind: own };
    case 'connect':
      return { verbs: subresource.verbs, kind: { ...own, kind: subresource.optionsKind ?? own.kind } };
    case 'projection':
      return { verbs: subresource.verbs, kind: foreignKind(subresource, own) };
    case 'create':
      return { verbs: ['create'], kind: foreignKind(subresource, own) };
  }
}

function foreignKind(
  { group, version, kind }: { group: string; version: string; kind: string },
  own: ListedSubresource['kind'],
): ListedSubresource['kind'] {
  return { group, version, kind, foreign: group !== own.group || version !== own.version };
}

/** apidiscovery.k8s.io/v2: all groups, or on /api the core group. */
function aggregatedList(registry: Registry, core: boolean) {
  const groups = [...registry.groups].filter(([group]) => (group === '') === core);
  return {
    kind: 'APIGroupDiscoveryList',
    apiVersion: 'apidiscovery.k8s.io/v2',
    metadata: {},
    items: groups.map(([group, versions]) => ({
      metadata: { ...(group ? { name: group } : {}), creationTimestamp: null },
      versions: versions.map((version) => ({
        version,
        resources: inVersion(registry, group, version).map(aggregatedResource),
        freshness: 'Current',
      })),
    })),
  };
}

function aggregatedResource(definition: ResourceDefinition) {
  const { group, version, kind } = definition;
  const subresources = subresourcesOf(definition).map((subresource) => ({
    subresource: subresource.name,
    responseKind: {
      group: subresource.kind.group,
      version: subresource.kind.version,
      kind: subresource.kind.kind,
    },
    verbs: subresource.verbs,
  }));
  return {
    resource: definition.plural,
    responseKind: { group, version, kind },
    scope: definition.namespaced ? 'Namespaced' : 'Cluster',
    singularResource: definition.singular,
    verbs: definition.verbs,
    ...(definition.shortNames.length > 0 ? { shortNames: definition.shortNames } : {}),
    ...(definition.categories.length > 0 ? { categories: definition.categories } : {}),
    ...(subresources.length > 0 ? { subresources } : {}),
  };
}

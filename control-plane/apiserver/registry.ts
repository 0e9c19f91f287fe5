import type { ResourceDefinition, ResourceName } from './definition.ts';

/** The definitions that this server has, in discovery order. */
export interface Registry {
  readonly definitions: readonly ResourceDefinition[];
  find(group: string, version: string, plural: string): ResourceDefinition | undefined;
  /** Any version of it. */
  byName(name: ResourceName): ResourceDefinition | undefined;
  /** Group → versions, in order of first appearance; the core group is ''. */
  readonly groups: ReadonlyMap<string, readonly string[]>;
}

/** Throws when two definitions share a path, or a definition's kind cannot be addressed. */
export function createRegistry(definitions: readonly ResourceDefinition[]): Registry {
  const byPath = new Map<string, ResourceDefinition>();
  const groups = new Map<string, string[]>();
  for (const definition of definitions) {
    const path = `${definition.group}/${definition.version}/${definition.plural}`;
    if (byPath.has(path)) throw new Error(`two resource definitions for ${path}`);
    byPath.set(path, definition);
    const versions = groups.get(definition.group);
    if (!versions) groups.set(definition.group, [definition.version]);
    else if (!versions.includes(definition.version)) versions.push(definition.version);
  }
  return {
    definitions,
    groups,
    find: (group, version, plural) => byPath.get(`${group}/${version}/${plural}`),
    byName: ({ group, plural }) =>
      definitions.find((definition) => definition.group === group && definition.plural === plural),
  };
}

/** `v1` or `apps/v1`. */
export const apiVersionOf = (definition: { group: string; version: string }) =>
  definition.group ? `${definition.group}/${definition.version}` : definition.version;

/** The store's name of a resource: `pods`, `apps/deployments`. It does not change with versions. */
export const storeResource = ({ group, plural }: ResourceName) => (group ? `${group}/${plural}` : plural);

import {
  type FieldRequirement,
  parseFieldSelector,
  parseLabelSelector,
  SelectorError,
} from '../../../src/kube/selectors.ts';
import type { KubeObject } from '../../../src/kube/types.ts';
import type { ResourceDefinition } from '../definition.ts';
import { badRequest } from '../status-error.ts';

/** What of a collection a request wants. */
export interface Selection {
  /** A fieldSelector metadata.name=X narrows the store's work to one key. */
  readonly name: string | undefined;
  readonly namespace: string | undefined;
  /** Undefined: everything in that range matches, no object needs to be looked at. */
  readonly matches: ((object: KubeObject) => boolean) | undefined;
}

/** Parses ?labelSelector= and ?fieldSelector=. Throws 400 for what can't be parsed and for fields the kind does not offer. */
export function parseSelection(definition: ResourceDefinition, namespace: string, query: URLSearchParams): Selection {
  try {
    const labels = parseLabelSelector(query.get('labelSelector') ?? '');
    const fields = parseFieldSelector(query.get('fieldSelector') ?? '');
    const checks = fields.map((requirement) => fieldCheck(definition, requirement));
    if (!labels.empty) checks.push((object) => labels.matches(object.metadata.labels));
    return {
      name: equalTo(fields, 'metadata.name'),
      namespace: definition.namespaced ? namespace || equalTo(fields, 'metadata.namespace') : undefined,
      matches: checks.length > 0 ? (object) => checks.every((check) => check(object)) : undefined,
    };
  } catch (error) {
    if (error instanceof SelectorError) throw badRequest(error.message);
    throw error;
  }
}

const equalTo = (fields: readonly FieldRequirement[], field: string) =>
  fields.find((requirement) => requirement.field === field && requirement.operator === '=')?.value;

function fieldCheck(definition: ResourceDefinition, { field, operator, value }: FieldRequirement) {
  const get = getter(definition, field);
  const equal = operator === '=';
  return (object: KubeObject) => (get(object) === value) === equal;
}

function getter(definition: ResourceDefinition, field: string): (object: KubeObject) => string {
  if (field === 'metadata.name') return (object) => object.metadata.name;
  if (field === 'metadata.namespace' && definition.namespaced) return (object) => object.metadata.namespace ?? '';
  const get = Object.hasOwn(definition.selectableFields, field) ? definition.selectableFields[field] : undefined;
  if (!get) throw badRequest(`field label not supported: ${field}`);
  return get;
}

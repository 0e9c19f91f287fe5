import { QuantityError } from '../../src/kube/quantity.ts';
import type { KubeObject } from '../../src/kube/types.ts';
import { ALL_VERBS, type ResourceDefinition } from '../apiserver/definition.ts';
import { subdomainName } from '../apiserver/names.ts';
import { badRequest } from '../apiserver/status-error.ts';

type Named<T extends KubeObject> = Pick<ResourceDefinition<T>, 'kind' | 'plural' | 'columns'>;
type WithStatus = KubeObject & { status?: unknown };

export interface DefineOptions<T extends KubeObject> {
  /** status of a new object; undefined: none. Only of kinds with /status. */
  initialStatus?(object: T): unknown;
}

/**
 * Completes a resource definition with what most kinds have in common: core/v1, namespaced, all verbs, subdomain names,
 * unconditional updates, and, for kinds with /status, a status that only that endpoint writes.
 */
export function defineResource<T extends KubeObject>(
  entry: Named<T> & Partial<ResourceDefinition<T>>,
  options: DefineOptions<T> = {},
): ResourceDefinition<T> {
  const complete: ResourceDefinition<T> = {
    group: '',
    version: 'v1',
    singular: entry.kind.toLowerCase(),
    shortNames: [],
    categories: [],
    namespaced: true,
    verbs: ALL_VERBS,
    validateName: subdomainName,
    applyDefaults: () => {},
    prepareForCreate: () => {},
    prepareForUpdate: () => {},
    validate: () => [],
    validateUpdate: () => [],
    selectableFields: {},
    hasStatus: false,
    allowUnconditionalUpdate: true,
    allowCreateOnUpdate: false,
    subresources: {},
    ...entry,
  };
  return {
    ...complete,
    applyDefaults: (object) => refuseBadQuantities(complete, () => complete.applyDefaults(object)),
    async prepareForCreate(object, context) {
      if (complete.hasStatus) setStatus(object, options.initialStatus?.(object));
      await complete.prepareForCreate(object, context);
    },
    async prepareForUpdate(object, old, context) {
      if (complete.hasStatus) setStatus(object, (old as WithStatus).status);
      await complete.prepareForUpdate(object, old, context);
    },
  };
}

function setStatus(object: WithStatus, status: unknown): void {
  if (status === undefined) delete object.status;
  else object.status = structuredClone(status);
}

/** Upstream finds a malformed quantity while decoding, so it is a 400 there and not a field error. */
function refuseBadQuantities(of: { kind: string; version: string }, work: () => void): void {
  try {
    work();
  } catch (error) {
    if (!(error instanceof QuantityError)) throw error;
    throw badRequest(`${of.kind} in version "${of.version}" cannot be handled as a ${of.kind}: ${error.message}`);
  }
}

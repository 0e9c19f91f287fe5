import type { Namespace } from '../../src/kube/types.ts';
import type { ResourceDefinition } from '../apiserver/definition.ts';
import { labelKeyProblems } from '../apiserver/labels.ts';
import { labelName } from '../apiserver/names.ts';
import { forbidden } from '../apiserver/status-error.ts';
import { ageColumn, column, nameColumn } from './columns.ts';
import { defineResource } from './define.ts';
import { invalidFor } from './values.ts';

const NAME_LABEL = 'kubernetes.io/metadata.name';
const FINALIZER = 'kubernetes';

/** Made at start when missing. kube-node-lease may be deleted: it only comes back. */
export const DEFAULT_NAMESPACES = ['default', 'kube-system', 'kube-public', 'kube-node-lease'];
const UNDELETABLE: ReadonlySet<string> = new Set(['default', 'kube-system', 'kube-public']);

const NAMES = { group: '', plural: 'namespaces', kind: 'Namespace' };

export const namespaces: ResourceDefinition<Namespace> = defineResource<Namespace>(
  {
    kind: 'Namespace',
    plural: 'namespaces',
    shortNames: ['ns'],
    namespaced: false,
    verbs: ['create', 'delete', 'get', 'list', 'patch', 'update', 'watch'],
    validateName: labelName,
    columns: [
      nameColumn,
      column('Status', 'string', 'The status of the namespace', (namespace) => namespace.status?.phase ?? ''),
      ageColumn,
    ],
    applyDefaults(namespace) {
      namespace.spec ??= {};
      if (namespace.metadata.name) labelWithName(namespace);
      namespace.status ??= {};
      namespace.status.phase ||= 'Active';
    },
    prepareForCreate(namespace) {
      const finalizers = namespace.spec.finalizers ?? [];
      if (!finalizers.includes(FINALIZER)) namespace.spec.finalizers = [...finalizers, FINALIZER];
    },
    prepareForUpdate(namespace, old) {
      // Only /finalize changes these.
      namespace.spec.finalizers = old.spec?.finalizers;
    },
    validate: (namespace) =>
      (namespace.spec?.finalizers ?? []).flatMap((finalizer) =>
        invalidFor('spec.finalizers', finalizer, labelKeyProblems(finalizer)),
      ),
    selectableFields: { 'status.phase': (namespace) => namespace.status?.phase ?? '' },
    hasStatus: true,
    checkDelete(namespace) {
      if (UNDELETABLE.has(namespace.metadata.name))
        throw forbidden(NAMES, namespace.metadata.name, 'this namespace may not be deleted');
    },
    markDeleted(namespace) {
      namespace.status = { ...namespace.status, phase: 'Terminating' };
    },
    isHeld: (namespace) => (namespace.spec?.finalizers ?? []).length > 0,
    begin(namespace) {
      // A generated name is known only now.
      labelWithName(namespace);
      return undefined;
    },
    subresources: {
      finalize: {
        style: 'object',
        verbs: ['update'],
        prepareForUpdate(namespace, old) {
          const finalizers = namespace.spec?.finalizers;
          const { metadata } = namespace;
          Object.assign(namespace, structuredClone(old), { metadata });
          namespace.spec = { ...namespace.spec, finalizers };
        },
      },
    },
  },
  { initialStatus: () => ({ phase: 'Active' }) },
);

function labelWithName({ metadata }: Namespace): void {
  metadata.labels = { ...metadata.labels, [NAME_LABEL]: metadata.name };
}

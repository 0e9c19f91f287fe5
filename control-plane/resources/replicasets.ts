import type { ReplicaSet, ReplicaSetSpec } from '../../src/kube/types.ts';
import type { ResourceDefinition } from '../apiserver/definition.ts';
import { specChanged } from '../apiserver/strategy.ts';
import { ageColumn, column, nameColumn } from './columns.ts';
import { defineResource } from './define.ts';
import { validateImmutable } from './labels.ts';
import { applyTemplateDefaults, validateTemplate } from './pod-spec/template.ts';
import { templateColumns, validateReplicaCounts, validateWorkloadSelector } from './replicas.ts';
import { scaleSubresource } from './scale.ts';
import { nonNegative } from './values.ts';

export const replicaSets: ResourceDefinition<ReplicaSet> = defineResource<ReplicaSet>(
  {
    group: 'apps',
    kind: 'ReplicaSet',
    plural: 'replicasets',
    shortNames: ['rs'],
    categories: ['all'],
    columns: [
      nameColumn,
      column('Desired', 'integer', 'The number of desired replicas.', ({ spec }) => spec.replicas ?? 0),
      column('Current', 'integer', 'The number of pods that there are.', ({ status }) => status?.replicas ?? 0),
      column('Ready', 'integer', 'The number of ready pods.', ({ status }) => status?.readyReplicas ?? 0),
      ageColumn,
      ...templateColumns,
    ],
    applyDefaults(replicaSet) {
      replicaSet.spec ??= {} as ReplicaSetSpec;
      replicaSet.spec.replicas ??= 1;
      if (replicaSet.spec.template) applyTemplateDefaults(replicaSet.spec.template);
    },
    validate: ({ spec }) => [
      ...nonNegative('spec.replicas', spec.replicas),
      ...nonNegative('spec.minReadySeconds', spec.minReadySeconds),
      ...validateWorkloadSelector(spec.selector),
      ...validateTemplate(spec.template, spec.selector, 'ReplicaSet', 'spec.template'),
    ],
    validateUpdate: (replicaSet, old) =>
      validateImmutable(replicaSet.spec.selector, old.spec.selector, 'spec.selector'),
    selectableFields: { 'status.replicas': ({ status }) => String(status?.replicas ?? 0) },
    hasStatus: true,
    status: {
      validateUpdate({ status }) {
        const { replicas = 0, fullyLabeledReplicas = 0, readyReplicas = 0, availableReplicas = 0 } = status ?? {};
        return [
          ...validateReplicaCounts({ replicas, fullyLabeledReplicas, readyReplicas, availableReplicas }, [
            'fullyLabeledReplicas',
            'readyReplicas',
            'availableReplicas',
          ]),
          ...nonNegative('status.observedGeneration', status?.observedGeneration),
        ];
      },
    },
    generationChanged: specChanged,
    subresources: { scale: scaleSubresource<ReplicaSet>() },
  },
  { initialStatus: () => ({ replicas: 0 }) },
);

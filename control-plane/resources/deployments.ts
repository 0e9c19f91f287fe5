import type { Deployment, DeploymentSpec, IntOrString } from '../../src/kube/types.ts';
import type { ResourceDefinition } from '../apiserver/definition.ts';
import { type FieldError, forbidden, invalid, notSupported, required } from '../apiserver/field-error.ts';
import { specChanged } from '../apiserver/strategy.ts';
import { ageColumn, column, nameColumn } from './columns.ts';
import { defineResource } from './define.ts';
import { semanticEqual } from './equality.ts';
import { validateImmutable } from './labels.ts';
import { applyTemplateDefaults, validateTemplate } from './pod-spec/template.ts';
import { templateColumns, validateReplicaCounts, validateWorkloadSelector } from './replicas.ts';
import { scaleSubresource } from './scale.ts';
import { nonNegative } from './values.ts';

export const deployments: ResourceDefinition<Deployment> = defineResource<Deployment>(
  {
    group: 'apps',
    kind: 'Deployment',
    plural: 'deployments',
    shortNames: ['deploy'],
    categories: ['all'],
    columns: [
      nameColumn,
      column(
        'Ready',
        'string',
        'Number of the pod with ready state',
        ({ spec, status }) => `${status?.readyReplicas ?? 0}/${spec.replicas ?? 0}`,
      ),
      column('Up-to-date', 'string', 'Pods of the newest template.', ({ status }) => status?.updatedReplicas ?? 0),
      column(
        'Available',
        'string',
        'Pods that have been ready for minReadySeconds.',
        ({ status }) => status?.availableReplicas ?? 0,
      ),
      ageColumn,
      ...templateColumns,
    ],
    applyDefaults(deployment) {
      deployment.spec ??= {} as DeploymentSpec;
      const { spec } = deployment;
      spec.replicas ??= 1;
      spec.strategy ??= {};
      spec.strategy.type ||= 'RollingUpdate';
      if (spec.strategy.type === 'RollingUpdate') {
        spec.strategy.rollingUpdate ??= {};
        spec.strategy.rollingUpdate.maxUnavailable ??= '25%';
        spec.strategy.rollingUpdate.maxSurge ??= '25%';
      }
      spec.revisionHistoryLimit ??= 10;
      spec.progressDeadlineSeconds ??= 600;
      if (spec.template) applyTemplateDefaults(spec.template);
    },
    validate: ({ spec }) => [
      ...nonNegative('spec.replicas', spec.replicas),
      ...validateWorkloadSelector(spec.selector),
      ...validateTemplate(spec.template, spec.selector, 'ReplicaSet', 'spec.template'),
      ...validateStrategy(spec),
      ...nonNegative('spec.minReadySeconds', spec.minReadySeconds),
      ...nonNegative('spec.revisionHistoryLimit', spec.revisionHistoryLimit),
      ...validateDeadline(spec),
    ],
    validateUpdate: (deployment, old) =>
      validateImmutable(deployment.spec.selector, old.spec.selector, 'spec.selector'),
    hasStatus: true,
    status: { validateUpdate: validateStatus },
    // Annotations are copied to the ReplicaSets, so the controller has work when they change.
    generationChanged: (deployment, old) =>
      specChanged(deployment, old) || !semanticEqual(deployment.metadata.annotations, old.metadata.annotations),
    subresources: { scale: scaleSubresource<Deployment>() },
  },
  { initialStatus: () => ({}) },
);

function validateDeadline({ progressDeadlineSeconds, minReadySeconds = 0 }: DeploymentSpec): FieldError[] {
  const field = 'spec.progressDeadlineSeconds';
  if (typeof progressDeadlineSeconds !== 'number') return [];
  return [
    ...nonNegative(field, progressDeadlineSeconds),
    ...(progressDeadlineSeconds <= minReadySeconds
      ? [invalid(field, progressDeadlineSeconds, 'must be greater than minReadySeconds')]
      : []),
  ];
}

function validateStrategy({ strategy = {} }: DeploymentSpec): FieldError[] {
  const field = 'spec.strategy.rollingUpdate';
  const rolling = strategy.rollingUpdate;
  switch (strategy.type) {
    case 'Recreate':
      return rolling ? [forbidden(field, "may not be specified when strategy `type` is 'Recreate'")] : [];
    case 'RollingUpdate': {
      if (!rolling) return [required(field, 'this should be defaulted and never be nil')];
      const { maxUnavailable = 0, maxSurge = 0 } = rolling;
      const errors = [
        ...validateAmount(maxUnavailable, `${field}.maxUnavailable`),
        ...validateAmount(maxSurge, `${field}.maxSurge`),
      ];
      if (numberOf(maxUnavailable) === 0 && numberOf(maxSurge) === 0)
        errors.push(invalid(`${field}.maxUnavailable`, maxUnavailable, 'may not be 0 when `maxSurge` is 0'));
      if (typeof maxUnavailable === 'string' && numberOf(maxUnavailable) > 100)
        errors.push(invalid(`${field}.maxUnavailable`, maxUnavailable, 'must not be greater than 100%'));
      return errors;
    }
    default:
      return strategy.type
        ? [notSupported('spec.strategy.type', strategy.type, ['Recreate', 'RollingUpdate'])]
        : [required('spec.strategy.type')];
  }
}

const PERCENT = /^[0-9]+%$/;

/** The number itself, or the percents. */
const numberOf = (amount: IntOrString) => (typeof amount === 'number' ? amount : Number.parseInt(amount, 10));

function validateAmount(amount: IntOrString, field: string): FieldError[] {
  if (typeof amount === 'number') return nonNegative(field, amount);
  return PERCENT.test(amount) ? [] : [invalid(field, amount, "must be an integer or percentage (e.g '5%%')")];
}

function validateStatus({ status = {} }: Deployment, old: Deployment): FieldError[] {
  const { replicas = 0, updatedReplicas = 0, readyReplicas = 0, availableReplicas = 0 } = status;
  const errors = [
    ...validateReplicaCounts({ replicas, updatedReplicas, readyReplicas, availableReplicas }, [
      'updatedReplicas',
      'readyReplicas',
      'availableReplicas',
    ]),
    ...nonNegative('status.unavailableReplicas', status.unavailableReplicas),
    ...nonNegative('status.observedGeneration', status.observedGeneration),
    ...nonNegative('status.collisionCount', status.collisionCount),
  ];
  const before = old.status?.collisionCount;
  if (typeof before === 'number' && (status.collisionCount ?? 0) < before)
    errors.push(invalid('status.collisionCount', status.collisionCount ?? 0, 'cannot be decremented'));
  return errors;
}

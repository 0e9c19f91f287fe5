import type { KubeObject } from '../../../src/kube/types.ts';
import { timestamp } from '../../../src/runtime/clock.ts';
import type { ResourceDefinition, VirtualRequest } from '../../apiserver/definition.ts';
import type { FieldError } from '../../apiserver/field-error.ts';
import { invalidObject } from '../../apiserver/status-error.ts';
import { defineResource } from '../define.ts';

export interface ReviewEntry<T extends KubeObject> {
  readonly group: 'authentication.k8s.io' | 'authorization.k8s.io';
  readonly kind: string;
  readonly plural: string;
  readonly namespaced?: boolean;
  validate?(object: T, namespace: string): FieldError[];
  /** The `status` of the answer. */
  answer(object: T, request: VirtualRequest<T>): object | Promise<object>;
}

/** A kind that is a question: POST it, and it comes back with a status. Nothing is stored. */
export function defineReview<T extends KubeObject>(entry: ReviewEntry<T>): ResourceDefinition<T> {
  const { group, kind, plural, namespaced = false } = entry;
  return defineResource<T>({
    group,
    kind,
    plural,
    namespaced,
    verbs: ['create'],
    columns: [],
    virtual: {
      async create(request) {
        const { object, namespace, context } = request;
        const errors = entry.validate?.(object, namespace) ?? [];
        if (errors.length > 0) throw invalidObject({ group, plural, kind }, object.metadata.name ?? '', errors);
        return {
          ...object,
          metadata: { ...object.metadata, creationTimestamp: timestamp(context.nowMs) },
          status: await entry.answer(object, request),
        };
      },
    },
  });
}

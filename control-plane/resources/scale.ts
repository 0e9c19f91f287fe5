import type { Scale } from '../../src/kube/schema/generated/types/autoscaling-v1.ts';
import { labelSelector } from '../../src/kube/selectors.ts';
import type { KubeObject, LabelSelector } from '../../src/kube/types.ts';
import type { ProjectionSubresource } from '../apiserver/definition.ts';
import { nonNegative } from './values.ts';

interface Scalable extends KubeObject {
  spec: { replicas?: number; selector: LabelSelector };
  status?: { replicas?: number };
}

/** …/scale: the replica count alone, as autoscaling/v1 Scale (kubectl scale, autoscalers). */
export function scaleSubresource<T extends Scalable>(): ProjectionSubresource<T> {
  return {
    style: 'projection',
    verbs: ['get', 'update', 'patch'],
    group: 'autoscaling',
    version: 'v1',
    kind: 'Scale',
    project({ metadata, spec, status }): Scale {
      const { name, namespace, uid, resourceVersion, creationTimestamp } = metadata;
      return {
        kind: 'Scale',
        apiVersion: 'autoscaling/v1',
        metadata: { name, namespace, uid, resourceVersion, creationTimestamp },
        spec: { replicas: spec.replicas ?? 0 },
        status: { replicas: status?.replicas ?? 0, selector: labelSelector(spec.selector).toString() },
      };
    },
    validate: (projection) => nonNegative('spec.replicas', (projection as Scale).spec?.replicas),
    apply(object, projection) {
      object.spec.replicas = (projection as Scale).spec?.replicas ?? 0;
    },
  };
}

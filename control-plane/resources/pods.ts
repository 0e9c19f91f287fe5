import { isDeepStrictEqual } from 'node:util';
import type { Pod } from '../../src/kube/types.ts';
import { timestamp } from '../../src/runtime/clock.ts';
import type { ResourceDefinition, SubresourceDefinition } from '../apiserver/definition.ts';
import { type FieldError, forbidden } from '../apiserver/field-error.ts';
import { invalidObject } from '../apiserver/status-error.ts';
import { defineResource } from './define.ts';
import { validateImagePadding } from './pod-spec/containers.ts';
import { applyPodDefaults } from './pod-spec/defaults.ts';
import { validatePodOnly, validatePodSpec } from './pod-spec/pod-spec.ts';
import { validatePodSpecUpdate } from './pod-spec/update.ts';
import { admitPod, type PodAdmissionOptions } from './pods/admission.ts';
import { podBinding } from './pods/binding.ts';
import { podAddress, podColumns } from './pods/columns.ts';
import { ephemeralContainersSubresource } from './pods/ephemeral-containers.ts';
import { qosClassOf } from './pods/qos.ts';
import { resizeSubresource } from './pods/resize.ts';
import { validatePodStatusUpdate } from './pods/status-update.ts';

export interface PodOptions extends PodAdmissionOptions {
  /** More of pods/…, by name: `log`, which needs a way to the nodes. */
  subresources: Readonly<Record<string, SubresourceDefinition<Pod>>>;
}

export function definePods(options: PodOptions): ResourceDefinition<Pod> {
  return defineResource<Pod>(
    {
      kind: 'Pod',
      plural: 'pods',
      shortNames: ['po'],
      categories: ['all'],
      columns: podColumns,
      applyDefaults: applyPodDefaults,
      async prepareForCreate(pod, context) {
        refuseNotYet(pod);
        await admitPod(pod, context, options);
        if ((pod.spec.schedulingGates ?? []).length > 0) markGated(pod, context.nowMs);
      },
      validate: validatePod,
      validateUpdate: (pod, old) => validatePodSpecUpdate(pod.spec, old.spec),
      selectableFields: {
        'spec.nodeName': (pod) => pod.spec.nodeName ?? '',
        'spec.restartPolicy': (pod) => pod.spec.restartPolicy ?? '',
        'spec.schedulerName': (pod) => pod.spec.schedulerName ?? '',
        'spec.serviceAccountName': (pod) => pod.spec.serviceAccountName ?? '',
        'spec.hostNetwork': (pod) => String(pod.spec.hostNetwork ?? false),
        'status.phase': (pod) => pod.status?.phase ?? '',
        'status.podIP': podAddress,
        'status.podIPs': (pod) => (pod.status?.podIPs ?? []).map(({ ip }) => ip).join(','),
        'status.nominatedNodeName': (pod) => pod.status?.nominatedNodeName ?? '',
      },
      hasStatus: true,
      status: {
        prepareForUpdate(pod, old) {
          // Old node agents lose owner references when they write a status.
          pod.metadata.ownerReferences = old.metadata.ownerReferences;
          if (!pod.status?.qosClass && old.status?.qosClass)
            pod.status = { ...pod.status, qosClass: old.status.qosClass };
        },
        validateUpdate: validatePodStatusUpdate,
      },
      generationChanged: isChangedByOwner,
      gracePeriodSeconds: podGracePeriodSeconds,
      subresources: {
        binding: podBinding,
        ephemeralcontainers: ephemeralContainersSubresource(validatePod),
        resize: resizeSubresource(validatePod),
        ...options.subresources,
      },
    },
    { initialStatus: (pod) => ({ phase: 'Pending', qosClass: qosClassOf(pod.spec) }) },
  );
}

function validatePod(pod: Pod): FieldError[] {
  const { spec } = pod;
  const errors = [...validatePodSpec(spec, 'spec', true), ...validatePodOnly(spec, 'spec')];
  for (const list of ['containers', 'initContainers'] as const)
    (spec[list] ?? []).forEach((container, index) => {
      errors.push(...validateImagePadding(container.image, `spec.${list}[${index}].image`));
    });
  return errors;
}

/** What only a later write may set: ephemeral containers have a subresource, gated pods are not bound. */
function refuseNotYet({ metadata, spec }: Pod): void {
  const errors: FieldError[] = [];
  if ((spec.ephemeralContainers ?? []).length > 0)
    errors.push(forbidden('spec.ephemeralContainers', 'cannot be set on create'));
  if (spec.nodeName && (spec.schedulingGates ?? []).length > 0)
    errors.push(forbidden('spec.nodeName', 'cannot be set until all schedulingGates have been cleared'));
  if (errors.length > 0) throw invalidObject({ group: '', plural: 'pods', kind: 'Pod' }, metadata.name ?? '', errors);
}

function markGated(pod: Pod, nowMs: number): void {
  pod.status = {
    ...pod.status,
    conditions: [
      {
        type: 'PodScheduled',
        status: 'False',
        reason: 'SchedulingGated',
        message: 'Scheduling is blocked due to non-empty scheduling gates',
        lastTransitionTime: timestamp(nowMs),
      },
    ],
  };
}

/** §7: what nobody runs any more, or yet, goes at once. */
function podGracePeriodSeconds(pod: Pod, requestedSeconds: number | undefined): number {
  const phase = pod.status?.phase;
  if (!pod.spec.nodeName || phase === 'Succeeded' || phase === 'Failed') return 0;
  const seconds = requestedSeconds ?? pod.spec.terminationGracePeriodSeconds ?? 0;
  return seconds < 0 ? 1 : seconds;
}

/** Being bound to a node counts for no generation: its owner has asked for nothing else. */
function isChangedByOwner(pod: Pod, old: Pod): boolean {
  const [now, before] = [pod, old].map(({ spec: { nodeName: _, ...rest } }) => rest);
  return !isDeepStrictEqual(now, before);
}

import type { EphemeralContainer, Pod } from '../../../src/kube/types.ts';
import type { ObjectSubresource } from '../../apiserver/definition.ts';
import { type FieldError, forbidden } from '../../apiserver/field-error.ts';
import { semanticEqual } from '../equality.ts';
import { MIRROR_POD_ANNOTATION } from './admission.ts';

/**
 * GET, PUT, PATCH pods/NAME/ephemeralcontainers (kubectl debug): the one door through which containers come into a pod
 * that exists. Whatever else a client sends is brought back to what is stored.
 */
export function ephemeralContainersSubresource(validatePod: (pod: Pod) => FieldError[]): ObjectSubresource<Pod> {
  return {
    style: 'object',
    verbs: ['get', 'update', 'patch'],
    prepareForUpdate(pod, old) {
      const { ephemeralContainers } = pod.spec;
      const { resourceVersion } = pod.metadata;
      Object.assign(pod, structuredClone(old));
      pod.metadata.resourceVersion = resourceVersion;
      if (ephemeralContainers?.length) pod.spec.ephemeralContainers = ephemeralContainers;
      else delete pod.spec.ephemeralContainers;
      if (!semanticEqual(pod.spec, old.spec)) pod.metadata.generation = (old.metadata.generation ?? 0) + 1;
    },
    validateUpdate: (pod, old) => validateEphemeralUpdate(pod, old, validatePod),
  };
}

/** Upstream's ValidatePodEphemeralContainersUpdate: they may only be added. */
function validateEphemeralUpdate(pod: Pod, old: Pod, validatePod: (pod: Pod) => FieldError[]): FieldError[] {
  if (old.metadata.annotations?.[MIRROR_POD_ANNOTATION] !== undefined)
    return [forbidden('', 'static pods do not support ephemeral containers')];
  const now = new Map((pod.spec.ephemeralContainers ?? []).map((container) => [container.name, container]));
  const changed = (old.spec.ephemeralContainers ?? []).flatMap((before) => problemOf(before, now.get(before.name)));
  return [...validatePod(pod), ...changed];
}

function problemOf(before: EphemeralContainer, now: EphemeralContainer | undefined): FieldError[] {
  if (now && semanticEqual(before, now)) return [];
  const what = now ? 'changed' : 'removed';
  return [
    forbidden(
      'spec.ephemeralContainers',
      `existing ephemeral containers ${JSON.stringify(before.name)} may not be ${what}`,
    ),
  ];
}

import type { KubeObject } from '../../../src/kube/types.ts';

/** Older than spec.storageClassName, and read first by upstream to this day. */
export const CLASS_ANNOTATION = 'volume.beta.kubernetes.io/storage-class';

/** The class that a volume or a claim names; '' is none, and for a claim also the wish for none. */
export function storageClassOf(object: KubeObject & { spec?: { storageClassName?: string } }): string {
  return object.metadata.annotations?.[CLASS_ANNOTATION] ?? object.spec?.storageClassName ?? '';
}

/** A claim that leaves the class to the cluster gets the default one; a claim that says '' does not. */
export function leavesClassOpen(claim: KubeObject & { spec?: { storageClassName?: string } }): boolean {
  return claim.metadata.annotations?.[CLASS_ANNOTATION] === undefined && claim.spec?.storageClassName === undefined;
}

import type { StorageClass } from '../../../src/kube/types.ts';

const DEFAULT_ANNOTATIONS = [
  'storageclass.kubernetes.io/is-default-class',
  'storageclass.beta.kubernetes.io/is-default-class',
];

export function isDefaultClass({ metadata }: StorageClass): boolean {
  return DEFAULT_ANNOTATIONS.some((annotation) => metadata.annotations?.[annotation] === 'true');
}

/** The newest default wins, and by name where they are of the same second (DefaultStorageClass). */
export function defaultClass(classes: readonly StorageClass[]): StorageClass | undefined {
  return classes
    .filter(isDefaultClass)
    .sort(
      (a, b) =>
        Date.parse(b.metadata.creationTimestamp) - Date.parse(a.metadata.creationTimestamp) ||
        (a.metadata.name < b.metadata.name ? -1 : 1),
    )[0];
}

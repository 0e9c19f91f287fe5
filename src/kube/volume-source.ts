import type { PersistentVolumeSpec } from './types.ts';

const NOT_A_SOURCE: ReadonlySet<string> = new Set<keyof PersistentVolumeSpec>([
  'capacity',
  'accessModes',
  'claimRef',
  'persistentVolumeReclaimPolicy',
  'storageClassName',
  'mountOptions',
  'volumeMode',
  'nodeAffinity',
  'volumeAttributesClassName',
]);

/** What a PersistentVolume is made of: `['hostPath', {…}]`, one entry in a valid one. */
export function volumeSources(spec: PersistentVolumeSpec): [type: string, source: unknown][] {
  return Object.entries(spec).filter(([key, value]) => !NOT_A_SOURCE.has(key) && value !== undefined && value !== null);
}

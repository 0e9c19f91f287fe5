import type { PersistentVolume, PersistentVolumeClaim, StorageClass } from '../../../../src/kube/types.ts';

/** Volumes, claims and classes as controllers get them; `spec` is laid over a valid one. */

const base = (name: string) => ({
  name,
  uid: `uid-${name}`,
  resourceVersion: '1',
  creationTimestamp: '2026-01-01T00:00:00Z',
});

interface Parts {
  size?: string;
  annotations?: Record<string, string>;
  labels?: Record<string, string>;
  deleted?: boolean;
  spec?: object;
}

const metadata = (name: string, { annotations, labels, deleted }: Parts) => ({
  ...base(name),
  ...(annotations && { annotations }),
  ...(labels && { labels }),
  ...(deleted && { deletionTimestamp: '2026-01-01T00:01:00Z' }),
});

export function makeVolume(
  name: string,
  parts: Parts & {
    phase?: string;
    of?: PersistentVolumeClaim;
  } = {},
): PersistentVolume {
  const { size = '1Gi', phase = 'Available', of } = parts;
  return {
    metadata: metadata(name, parts),
    spec: {
      capacity: { storage: size },
      accessModes: ['ReadWriteOnce'],
      persistentVolumeReclaimPolicy: 'Retain',
      volumeMode: 'Filesystem',
      hostPath: { path: `/tmp/${name}` },
      ...(of && {
        claimRef: { namespace: of.metadata.namespace!, name: of.metadata.name, uid: of.metadata.uid },
      }),
      ...parts.spec,
    },
    status: { phase },
  } as PersistentVolume;
}

export function makeClaim(name: string, parts: Parts & { phase?: string } = {}): PersistentVolumeClaim {
  const { size = '1Gi', phase = 'Pending' } = parts;
  return {
    metadata: { ...metadata(name, parts), namespace: 'default' },
    spec: {
      accessModes: ['ReadWriteOnce'],
      resources: { requests: { storage: size } },
      volumeMode: 'Filesystem',
      storageClassName: '',
      ...parts.spec,
    },
    status: { phase },
  } as PersistentVolumeClaim;
}

export function makeClass(name: string, parts: Partial<StorageClass> = {}): StorageClass {
  return {
    provisioner: 'kubernetes.io/no-provisioner',
    reclaimPolicy: 'Delete',
    volumeBindingMode: 'Immediate',
    ...parts,
    metadata: { ...base(name), ...parts.metadata },
  };
}

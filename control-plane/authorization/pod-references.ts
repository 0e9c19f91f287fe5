import type { Pod, PodSpec } from '../../src/kube/types.ts';

/** Names of the objects in its own namespace that a pod needs on its node. */
export interface PodReferences {
  readonly secrets: ReadonlySet<string>;
  readonly configMaps: ReadonlySet<string>;
  readonly persistentVolumeClaims: ReadonlySet<string>;
}

export function referencesOf(pod: Pod): PodReferences {
  const secrets = new Set<string>();
  const configMaps = new Set<string>();
  const persistentVolumeClaims = new Set<string>();
  const add = (names: Set<string>, name: string | undefined) => {
    if (name) names.add(name);
  };
  const { spec } = pod;
  for (const { name } of spec.imagePullSecrets ?? []) add(secrets, name);
  for (const container of containersOf(spec)) {
    for (const { valueFrom } of container.env ?? []) {
      add(secrets, valueFrom?.secretKeyRef?.name);
      add(configMaps, valueFrom?.configMapKeyRef?.name);
    }
    for (const { secretRef, configMapRef } of container.envFrom ?? []) {
      add(secrets, secretRef?.name);
      add(configMaps, configMapRef?.name);
    }
  }
  for (const volume of spec.volumes ?? []) {
    add(secrets, volume.secret?.secretName);
    add(configMaps, volume.configMap?.name);
    add(persistentVolumeClaims, volume.persistentVolumeClaim?.claimName);
    if (volume.ephemeral) add(persistentVolumeClaims, `${pod.metadata.name}-${volume.name}`);
    for (const source of volume.projected?.sources ?? []) {
      add(secrets, source.secret?.name);
      add(configMaps, source.configMap?.name);
    }
    // Drivers and file systems that log in somewhere.
    add(secrets, volume.csi?.nodePublishSecretRef?.name);
    add(secrets, volume.iscsi?.secretRef?.name);
    add(secrets, volume.rbd?.secretRef?.name);
    add(secrets, volume.cephfs?.secretRef?.name);
    add(secrets, volume.flexVolume?.secretRef?.name);
    add(secrets, volume.azureFile?.secretName);
  }
  return { secrets, configMaps, persistentVolumeClaims };
}

const containersOf = (spec: PodSpec) => [
  ...(spec.containers ?? []),
  ...(spec.initContainers ?? []),
  ...(spec.ephemeralContainers ?? []),
];

import type { Container, Pod } from '../../src/kube/types.ts';

export type ReferenceKind = 'configMap' | 'secret';

/** One ConfigMap or Secret of the pod's namespace. */
export interface Reference {
  kind: ReferenceKind;
  name: string;
}

/** Every ConfigMap and Secret that a pod names: in volumes, environment and pull secrets. Each once. */
export function findReferences({ spec }: Pod): Reference[] {
  const found = new Map<string, Reference>();
  const note = (kind: ReferenceKind, name: string | undefined) => {
    if (name) found.set(`${kind}/${name}`, { kind, name });
  };
  for (const { configMap, secret, projected, csi } of spec.volumes ?? []) {
    note('configMap', configMap?.name);
    note('secret', secret?.secretName);
    note('secret', csi?.nodePublishSecretRef?.name);
    for (const source of projected?.sources ?? []) {
      note('configMap', source.configMap?.name);
      note('secret', source.secret?.name);
    }
  }
  const containers = [...(spec.initContainers ?? []), ...spec.containers, ...(spec.ephemeralContainers ?? [])];
  for (const { env, envFrom } of containers as Container[]) {
    for (const { configMapRef, secretRef } of envFrom ?? []) {
      note('configMap', configMapRef?.name);
      note('secret', secretRef?.name);
    }
    for (const { valueFrom } of env ?? []) {
      note('configMap', valueFrom?.configMapKeyRef?.name);
      note('secret', valueFrom?.secretKeyRef?.name);
    }
  }
  for (const { name } of spec.imagePullSecrets ?? []) note('secret', name);
  return [...found.values()];
}

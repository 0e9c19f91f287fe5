import type { Pod, VolumeProjection } from '../../src/kube/types.ts';

/**
 * Where a pod asks for an object of the API, which a pod that must run without one may not (rule of Kubernetes 1.34,
 * PreventStaticPodAPIReferences). @returns `spec.volumes[0].configMap`-like paths with the kind of object, in the order of the spec.
 */
export function findApiReferences({ spec }: Pod): { field: string; resource: string }[] {
  const found: { field: string; resource: string }[] = [];
  const note = (condition: unknown, field: string, resource: string) => {
    if (condition) found.push({ field, resource });
  };
  note(spec.serviceAccountName, 'spec.serviceAccountName', 'serviceaccounts');
  note(spec.imagePullSecrets?.length, 'spec.imagePullSecrets', 'secrets');
  for (const list of ['initContainers', 'containers', 'ephemeralContainers'] as const)
    for (const [at, container] of (spec[list] ?? []).entries()) {
      for (const [index, { configMapRef, secretRef }] of (container.envFrom ?? []).entries()) {
        note(configMapRef, `spec.${list}[${at}].envFrom[${index}].configMapRef`, 'configmaps');
        note(secretRef, `spec.${list}[${at}].envFrom[${index}].secretRef`, 'secrets');
      }
      for (const [index, { valueFrom }] of (container.env ?? []).entries()) {
        note(valueFrom?.configMapKeyRef, `spec.${list}[${at}].env[${index}].valueFrom.configMapKeyRef`, 'configmaps');
        note(valueFrom?.secretKeyRef, `spec.${list}[${at}].env[${index}].valueFrom.secretKeyRef`, 'secrets');
      }
    }
  note(spec.resourceClaims?.length, 'spec.resourceClaims', 'resourceclaims');
  for (const [index, volume] of (spec.volumes ?? []).entries()) {
    const field = `spec.volumes[${index}]`;
    for (const [source, resource] of Object.entries(VOLUMES))
      note((volume as unknown as Record<string, unknown>)[source], `${field}.${source}`, resource);
    for (const [at, source] of (volume.projected?.sources ?? []).entries())
      for (const [kind, resource] of Object.entries(PROJECTIONS))
        note(source[kind as keyof VolumeProjection], `${field}.projected.sources[${at}].${kind}`, resource);
  }
  return found;
}

const VOLUMES = {
  configMap: 'configmaps (via configmap volumes)',
  secret: 'secrets (via secret volumes)',
  csi: 'csidrivers (via CSI volumes)',
  glusterfs: 'endpoints (via glusterFS volumes)',
  persistentVolumeClaim: 'persistentvolumeclaims',
  ephemeral: 'persistentvolumeclaims (via ephemeral volumes)',
  azureFile: 'secrets (via azureFile volumes)',
};

const PROJECTIONS = {
  configMap: 'configmaps (via projected volumes)',
  secret: 'secrets (via projected volumes)',
  serviceAccountToken: 'serviceaccounts (via projected volumes)',
  clusterTrustBundle: 'clustertrustbundles',
  podCertificate: 'podcertificates',
};

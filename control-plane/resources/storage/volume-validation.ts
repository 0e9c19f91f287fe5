import { parseQuantity } from '../../../src/kube/quantity.ts';
import type { PersistentVolume, PersistentVolumeSpec, VolumeNodeAffinity } from '../../../src/kube/types.ts';
import { volumeSources } from '../../../src/kube/volume-source.ts';
import { type FieldError, forbidden, invalid, notSupported, required } from '../../apiserver/field-error.ts';
import { subdomainName } from '../../apiserver/names.ts';
import { semanticEqual } from '../equality.ts';
import { validateImmutable } from '../labels.ts';
import { validateNoBacksteps } from '../pod-spec/paths.ts';
import { validateNodeSelectorTerm } from '../pod-spec/scheduling.ts';
import { invalidFor } from '../values.ts';
import { validateAccessModes, validateVolumeMode } from './access-modes.ts';
import { validateDriverName } from './driver-name.ts';

/** PersistentVolumes (upstream's ValidatePersistentVolume and …Update). */

const RECLAIM_POLICIES = ['Delete', 'Recycle', 'Retain'];

export function validateVolume({ spec }: PersistentVolume): FieldError[] {
  const errors = validateAccessModes(spec.accessModes, 'spec.accessModes');
  errors.push(...validateCapacity(spec.capacity));
  if (!RECLAIM_POLICIES.includes(spec.persistentVolumeReclaimPolicy ?? ''))
    errors.push(
      notSupported('spec.persistentVolumeReclaimPolicy', spec.persistentVolumeReclaimPolicy, RECLAIM_POLICIES),
    );
  errors.push(...validateNodeAffinity(spec.nodeAffinity), ...validateSources(spec));
  if (spec.hostPath?.path === '/' && spec.persistentVolumeReclaimPolicy === 'Recycle')
    errors.push(forbidden('spec.persistentVolumeReclaimPolicy', "may not be 'recycle' for a hostPath mount of '/'"));
  if (spec.storageClassName)
    errors.push(...invalidFor('spec.storageClassName', spec.storageClassName, subdomainName(spec.storageClassName)));
  errors.push(...validateVolumeMode(spec.volumeMode, 'spec.volumeMode'));
  return errors;
}

function validateCapacity(capacity: Record<string, string> | undefined): FieldError[] {
  const field = 'spec.capacity';
  const names = Object.keys(capacity ?? {});
  if (names.length === 0) return [required(field)];
  const errors =
    capacity!['storage'] === undefined || names.length > 1 ? [notSupported(field, capacity, ['storage'])] : [];
  for (const [name, quantity] of Object.entries(capacity!))
    if (parseQuantity(quantity).nano <= 0n)
      errors.push(invalid(`${field}[${name}]`, quantity, 'must be greater than zero'));
  return errors;
}

function validateNodeAffinity(affinity: VolumeNodeAffinity | undefined): FieldError[] {
  if (!affinity) return [];
  const field = 'spec.nodeAffinity.required';
  if (!affinity.required) return [required(field, 'must specify required node constraints')];
  const terms = affinity.required.nodeSelectorTerms ?? [];
  if (terms.length === 0) return [required(`${field}.nodeSelectorTerms`, 'must have at least one node selector term')];
  return terms.flatMap((term, index) => validateNodeSelectorTerm(term, `${field}.nodeSelectorTerms[${index}]`, true));
}

function validateSources(spec: PersistentVolumeSpec): FieldError[] {
  const sources = volumeSources(spec);
  if (sources.length === 0) return [required('spec', 'must specify a volume type')];
  const errors = sources.slice(1).map(([type]) => forbidden(`spec.${type}`, 'may not specify more than 1 volume type'));
  const { hostPath, local, nfs, csi } = spec;
  if (hostPath)
    errors.push(
      ...(hostPath.path ? validateNoBacksteps(hostPath.path, 'spec.hostPath.path') : [required('spec.hostPath.path')]),
    );
  if (local) {
    errors.push(...(local.path ? validateNoBacksteps(local.path, 'spec.local.path') : [required('spec.local.path')]));
    if (!spec.nodeAffinity) errors.push(required('spec.nodeAffinity', 'Local volume requires node affinity'));
  }
  if (nfs) {
    if (!nfs.server) errors.push(required('spec.nfs.server'));
    if (!nfs.path) errors.push(required('spec.nfs.path'));
    if (!(nfs.path ?? '').startsWith('/'))
      errors.push(invalid('spec.nfs.path', nfs.path ?? '', 'must be an absolute path'));
  }
  if (csi) {
    errors.push(...validateDriverName(csi.driver, 'spec.csi.driver'));
    if (!csi.volumeHandle) errors.push(required('spec.csi.volumeHandle'));
    for (const secret of ['nodeStageSecretRef', 'nodePublishSecretRef'] as const) {
      if (!csi[secret]) continue;
      if (!csi[secret].name) errors.push(required(`spec.csi.${secret}.name`));
      if (!csi[secret].namespace) errors.push(required(`spec.csi.${secret}.namespace`));
    }
  }
  return errors;
}

export function validateVolumeUpdate(volume: PersistentVolume, old: PersistentVolume): FieldError[] {
  const errors: FieldError[] = [];
  if (!semanticEqual(volumeSources(volume.spec), volumeSources(old.spec)))
    errors.push(forbidden('spec.persistentvolumesource', 'spec.persistentvolumesource is immutable after creation'));
  errors.push(...validateImmutable(volume.spec.volumeMode, old.spec.volumeMode, 'spec.volumeMode'));
  if (old.spec.nodeAffinity)
    errors.push(...validateImmutable(volume.spec.nodeAffinity, old.spec.nodeAffinity, 'spec.nodeAffinity'));
  return errors;
}

import { parseQuantity } from '../../../src/kube/quantity.ts';
import type { DownwardAPIVolumeFile, KeyToPath, ProjectedVolumeSource, Volume } from '../../../src/kube/types.ts';
import { duplicate, type FieldError, forbidden, invalid, notSupported, required } from '../../apiserver/field-error.ts';
import { labelName } from '../../apiserver/names.ts';
import { validateClaim } from '../storage/claim-validation.ts';
import { validateDriverName } from '../storage/driver-name.ts';
import { invalidFor } from '../values.ts';
import { validateFieldRef, validateResourceFieldRef } from './env.ts';
import { validateFileMode, validateNoBacksteps, validateUserPath } from './paths.ts';

/** `spec.volumes`: one source each, unique names. */

export interface ValidatedVolumes {
  readonly errors: FieldError[];
  /** The volumes without errors, by name: mounts may refer to these. */
  readonly byName: ReadonlyMap<string, Volume>;
}

export function validateVolumes(volumes: readonly Volume[] | undefined, field: string): ValidatedVolumes {
  const byName = new Map<string, Volume>();
  const errors = (volumes ?? []).flatMap((volume, index) => {
    const at = `${field}[${index}]`;
    const own = validateSource(volume, at);
    if (!volume.name) own.push(required(`${at}.name`));
    else own.push(...invalidFor(`${at}.name`, volume.name, labelName(volume.name)));
    if (byName.has(volume.name)) own.push(duplicate(`${at}.name`, volume.name));
    if (own.length === 0) byName.set(volume.name, volume);
    return own;
  });
  return { errors, byName };
}

function validateSource(volume: Volume, field: string): FieldError[] {
  const { name: _, ...sources } = volume;
  const named = Object.entries(sources).filter(([, source]) => source !== undefined && source !== null);
  if (named.length === 0) return [required(field, 'must specify a volume type')];
  return named.flatMap(([type, source], index) =>
    index > 0
      ? [forbidden(`${field}.${type}`, 'may not specify more than 1 volume type')]
      : (SOURCES[type as keyof Sources]?.(source as never, `${field}.${type}`) ?? []),
  );
}

type Sources = Omit<Volume, 'name'>;
type Validate<S> = (source: NonNullable<S>, field: string) => FieldError[];

const HOST_PATH_TYPES = [
  '',
  'BlockDevice',
  'CharDevice',
  'Directory',
  'DirectoryOrCreate',
  'File',
  'FileOrCreate',
  'Socket',
];

/** The kinds of volumes whose fields have rules beyond their schema. */
const SOURCES: { readonly [S in keyof Sources]?: Validate<Sources[S]> } = {
  emptyDir: (source, field) =>
    source.sizeLimit !== undefined && parseQuantity(source.sizeLimit).nano < 0n
      ? [forbidden(`${field}.sizeLimit`, 'SizeLimit field must be a valid resource quantity')]
      : [],
  hostPath: (source, field) => {
    if (!source.path) return [required(`${field}.path`)];
    const errors = validateNoBacksteps(source.path, `${field}.path`);
    if (!HOST_PATH_TYPES.includes(source.type ?? ''))
      errors.push(notSupported(`${field}.type`, source.type, HOST_PATH_TYPES));
    return errors;
  },
  secret: (source, field) => [
    ...(source.secretName ? [] : [required(`${field}.secretName`)]),
    ...validateFileMode(source.defaultMode, `${field}.defaultMode`),
    ...validateItems(source.items, `${field}.items`),
  ],
  configMap: (source, field) => [
    ...(source.name ? [] : [required(`${field}.name`)]),
    ...validateFileMode(source.defaultMode, `${field}.defaultMode`),
    ...validateItems(source.items, `${field}.items`),
  ],
  downwardAPI: (source, field) => [
    ...validateFileMode(source.defaultMode, `${field}.defaultMode`),
    ...(source.items ?? []).flatMap((item) => validateDownwardFile(item, field)),
  ],
  projected: (source, field) => [
    ...validateFileMode(source.defaultMode, `${field}.defaultMode`),
    ...validateProjections(source, field),
  ],
  persistentVolumeClaim: (source, field) => (source.claimName ? [] : [required(`${field}.claimName`)]),
  nfs: (source, field) => [
    ...(source.server ? [] : [required(`${field}.server`)]),
    ...(source.path ? [] : [required(`${field}.path`)]),
    ...((source.path ?? '').startsWith('/')
      ? []
      : [invalid(`${field}.path`, source.path ?? '', 'must be an absolute path')]),
  ],
  csi: (source, field) => [
    ...validateDriverName(source.driver, `${field}.driver`),
    ...(source.nodePublishSecretRef && !source.nodePublishSecretRef.name
      ? [required(`${field}.nodePublishSecretRef.name`)]
      : []),
  ],
  ephemeral: (source, field) =>
    source.volumeClaimTemplate
      ? validateClaim(source.volumeClaimTemplate.spec ?? {}, `${field}.volumeClaimTemplate.spec`)
      : [required(`${field}.volumeClaimTemplate`)],
  iscsi: (source, field) => [
    ...(source.targetPortal ? [] : [required(`${field}.targetPortal`)]),
    ...(source.iqn ? [] : [required(`${field}.iqn`)]),
  ],
};

function validateItems(items: readonly KeyToPath[] | undefined, field: string): FieldError[] {
  return (items ?? []).flatMap((item, index) => validateItem(item, `${field}[${index}]`));
}

function validateItem(item: KeyToPath, field: string): FieldError[] {
  return [
    ...(item.key ? [] : [required(`${field}.key`)]),
    ...(item.path ? [] : [required(`${field}.path`)]),
    ...validateUserPath(item.path ?? '', `${field}.path`),
    ...validateFileMode(item.mode, `${field}.mode`),
  ];
}

/** Fields that a file of a volume may take; sorted. */
const VOLUME_FIELDS = [
  'metadata.annotations',
  'metadata.labels',
  'metadata.name',
  'metadata.namespace',
  'metadata.uid',
];

function validateDownwardFile(file: DownwardAPIVolumeFile, field: string): FieldError[] {
  const errors: FieldError[] = [];
  if (!file.path) errors.push(required(`${field}.path`));
  errors.push(...validateUserPath(file.path ?? '', `${field}.path`));
  if (file.fieldRef) {
    errors.push(...validateFieldRef(file.fieldRef, VOLUME_FIELDS, `${field}.fieldRef`));
    if (file.resourceFieldRef)
      errors.push(invalid(field, 'resource', 'fieldRef and resourceFieldRef can not be specified simultaneously'));
  } else if (file.resourceFieldRef)
    errors.push(...validateResourceFieldRef(file.resourceFieldRef, `${field}.resourceFieldRef`, true));
  else errors.push(required(field, 'one of fieldRef and resourceFieldRef is required'));
  errors.push(...validateFileMode(file.mode, `${field}.mode`));
  return errors;
}

const SHORTEST_TOKEN_SECONDS = 600;
const LONGEST_TOKEN_SECONDS = 2 ** 32;

function validateProjections(projected: ProjectedVolumeSource, field: string): FieldError[] {
  const errors: FieldError[] = [];
  const paths = new Set<string>();
  /** Two sources may not write the same file. */
  const claim = (path: string | undefined, who: string) => {
    if (!path) return;
    if (paths.has(path)) errors.push(invalid(field, who, 'conflicting duplicate paths'));
    paths.add(path);
  };
  (projected.sources ?? []).forEach((source, index) => {
    const at = `${field}.sources[${index}]`;
    for (const type of ['secret', 'configMap'] as const) {
      const keys = source[type];
      if (!keys) continue;
      if (!keys.name) errors.push(required(`${at}.${type}.name`));
      errors.push(...validateItems(keys.items, `${at}.${type}.items`));
      for (const item of keys.items ?? []) claim(item.path, keys.name ?? '');
    }
    for (const file of source.downwardAPI?.items ?? []) {
      errors.push(...validateDownwardFile(file, `${at}.downwardAPI`));
      claim(file.path, file.path);
    }
    const token = source.serviceAccountToken;
    if (token) {
      const seconds = token.expirationSeconds ?? 0;
      if (seconds < SHORTEST_TOKEN_SECONDS)
        errors.push(
          invalid(
            `${at}.serviceAccountToken.expirationSeconds`,
            seconds,
            'may not specify a duration less than 10 minutes',
          ),
        );
      if (seconds > LONGEST_TOKEN_SECONDS)
        errors.push(
          invalid(
            `${at}.serviceAccountToken.expirationSeconds`,
            seconds,
            'may not specify a duration larger than 2^32 seconds',
          ),
        );
      if (!token.path) errors.push(required(`${field}.path`));
      else errors.push(...validateUserPath(token.path, `${field}.path`));
    }
    const bundle = source.clusterTrustBundle;
    if (bundle) {
      if (bundle.name !== undefined && bundle.signerName !== undefined)
        errors.push(invalid(`${at}.clusterTrustBundle`, bundle, 'only one of name and signerName may be used'));
      if (bundle.name === undefined && bundle.signerName === undefined)
        errors.push(required(`${at}.clusterTrustBundle`, 'either name or signerName must be specified'));
      if (!bundle.path) errors.push(required(`${at}.clusterTrustBundle.path`));
      errors.push(...validateUserPath(bundle.path ?? '', `${at}.clusterTrustBundle.path`));
      claim(bundle.path, bundle.path);
    }
    if (Object.values(source).filter((one) => one !== undefined && one !== null).length > 1)
      errors.push(forbidden(at, 'may not specify more than 1 volume type per source'));
  });
  return errors;
}

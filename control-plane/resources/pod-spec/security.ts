import type {
  AppArmorProfile,
  PodSecurityContext,
  PodSpec,
  SeccompProfile,
  SecurityContext,
} from '../../../src/kube/types.ts';
import {
  duplicate,
  type FieldError,
  forbidden,
  invalid,
  notSupported,
  required,
  tooLong,
} from '../../apiserver/field-error.ts';
import { invalidFor, userIdProblems } from '../values.ts';
import { validateDescendingPath } from './paths.ts';

/** Security contexts of pods and containers. Windows' options are left to its nodes: Berth has none. */

const SYSCTL_PATTERN = '^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$';
const SYSCTL = new RegExp(SYSCTL_PATTERN);
const SYSCTL_LENGTH = 253;
const PATH_LENGTH = 4095;
const PROFILE_TYPES = ['Localhost', 'RuntimeDefault', 'Unconfined'];

export function validateSecurityContext(
  context: SecurityContext | undefined,
  hostUsers: boolean,
  field: string,
): FieldError[] {
  if (!context) return [];
  const errors = [
    ...validateId(context.runAsUser, `${field}.runAsUser`),
    ...validateId(context.runAsGroup, `${field}.runAsGroup`),
  ];
  if (context.procMount) {
    if (!['Default', 'Unmasked'].includes(context.procMount))
      errors.push(notSupported(`${field}.procMount`, context.procMount, ['Default', 'Unmasked']));
    if (hostUsers && context.procMount === 'Unmasked')
      errors.push(invalid(`${field}.procMount`, context.procMount, '`hostUsers` must be false to use `Unmasked`'));
  }
  errors.push(...validateSeccomp(context.seccompProfile, `${field}.seccompProfile`));
  if (context.allowPrivilegeEscalation === false) {
    if (context.privileged)
      errors.push(invalid(field, context, 'cannot set `allowPrivilegeEscalation` to false and `privileged` to true'));
    if (context.capabilities?.add?.includes('CAP_SYS_ADMIN'))
      errors.push(
        invalid(field, context, 'cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN'),
      );
  }
  errors.push(...validateAppArmor(context.appArmorProfile, `${field}.appArmorProfile`));
  return errors;
}

export function validatePodSecurityContext(spec: PodSpec, field: string): FieldError[] {
  const context = spec.securityContext;
  if (!context) return [];
  const errors = [
    ...validateId(context.fsGroup, `${field}.fsGroup`),
    ...validateId(context.runAsUser, `${field}.runAsUser`),
    ...validateId(context.runAsGroup, `${field}.runAsGroup`),
    ...(context.supplementalGroups ?? []).flatMap((gid, index) =>
      validateId(gid, `${field}.supplementalGroups[${index}]`),
    ),
  ];
  if (spec.shareProcessNamespace && spec.hostPID)
    errors.push(
      invalid(`${field}.shareProcessNamespace`, true, 'ShareProcessNamespace and HostPID cannot both be enabled'),
    );
  errors.push(...validateSysctls(context, spec, `${field}.sysctls`));
  if (context.fsGroupChangePolicy && !['Always', 'OnRootMismatch'].includes(context.fsGroupChangePolicy))
    errors.push(
      notSupported(`${field}.fsGroupChangePolicy`, context.fsGroupChangePolicy, ['Always', 'OnRootMismatch']),
    );
  errors.push(...validateSeccomp(context.seccompProfile, `${field}.seccompProfile`));
  errors.push(...validateAppArmor(context.appArmorProfile, `${field}.appArmorProfile`));
  if (context.supplementalGroupsPolicy && !['Merge', 'Strict'].includes(context.supplementalGroupsPolicy))
    errors.push(
      notSupported(`${field}.supplementalGroupsPolicy`, context.supplementalGroupsPolicy, ['Merge', 'Strict']),
    );
  if (context.seLinuxChangePolicy && !['MountOption', 'Recursive'].includes(context.seLinuxChangePolicy))
    errors.push(
      notSupported(`${field}.seLinuxChangePolicy`, context.seLinuxChangePolicy, ['MountOption', 'Recursive']),
    );
  return errors;
}

function validateId(id: number | undefined | null, field: string): FieldError[] {
  return id === undefined || id === null ? [] : invalidFor(field, id, userIdProblems(id));
}

/** Sysctls of a namespace that the pod shares with the host would change the host. */
function validateSysctls(context: PodSecurityContext, spec: PodSpec, field: string): FieldError[] {
  const seen = new Set<string>();
  return (context.sysctls ?? []).flatMap(({ name }, index) => {
    const at = `${field}[${index}].name`;
    const errors: FieldError[] = [];
    if (!name) errors.push(required(at));
    else if (name.length > SYSCTL_LENGTH || !SYSCTL.test(name))
      errors.push(invalid(at, name, `must have at most ${SYSCTL_LENGTH} characters and match regex ${SYSCTL_PATTERN}`));
    else if (seen.has(name)) errors.push(duplicate(at, name));
    seen.add(name);
    const dotted = (name ?? '').replaceAll('/', '.');
    if (spec.hostNetwork && dotted.startsWith('net.'))
      errors.push(invalid(at, name, "may not be specified when 'hostNetwork' is true"));
    else if (spec.hostIPC && (dotted.startsWith('fs.mqueue.') || /^kernel\.(sem|shm|msg)/.test(dotted)))
      errors.push(invalid(at, name, "may not be specified when 'hostIPC' is true"));
    return errors;
  });
}

function validateSeccomp(profile: SeccompProfile | undefined, field: string): FieldError[] {
  if (!profile) return [];
  const errors: FieldError[] = [];
  if (!profile.type) errors.push(required(`${field}.type`, 'type is required when seccompProfile is set'));
  else if (!PROFILE_TYPES.includes(profile.type))
    errors.push(notSupported(`${field}.type`, profile.type, PROFILE_TYPES));
  const local = profile.localhostProfile ?? undefined;
  if (profile.type === 'Localhost') {
    if (local === undefined)
      errors.push(required(`${field}.localhostProfile`, 'must be set when seccomp type is Localhost'));
    else errors.push(...validateDescendingPath(local, `${field}.localhostProfile`));
  } else if (local !== undefined)
    errors.push(invalid(`${field}.localhostProfile`, profile, 'can only be set when seccomp type is Localhost'));
  return errors;
}

function validateAppArmor(profile: AppArmorProfile | undefined, field: string): FieldError[] {
  if (!profile) return [];
  const at = `${field}.localhostProfile`;
  const local = profile.localhostProfile ?? undefined;
  switch (profile.type) {
    case 'Localhost':
      if (local === undefined || local === '') return [required(at, 'must be set when AppArmor type is Localhost')];
      return [
        ...(local.trim() === local ? [] : [invalid(at, local, 'must not be padded with whitespace')]),
        ...(local.length > PATH_LENGTH ? [tooLong(at, PATH_LENGTH)] : []),
      ];
    case 'RuntimeDefault':
    case 'Unconfined':
      return local === undefined ? [] : [invalid(at, local, 'can only be set when AppArmor type is Localhost')];
    default:
      return profile.type
        ? [notSupported(`${field}.type`, profile.type, PROFILE_TYPES)]
        : [required(`${field}.type`, 'type is required when appArmorProfile is set')];
  }
}

/** A pod with users of its own cannot share the host's other namespaces. */
export function validateHostUsers(spec: PodSpec, field: string): FieldError[] {
  if (spec.hostUsers !== false) return [];
  const why = 'when `pod.Spec.HostUsers` is false';
  return [
    ...(spec.hostNetwork ? [forbidden(`${field}.hostNetwork`, why)] : []),
    ...(spec.hostPID ? [forbidden(`${field}.HostPID`, why)] : []),
    ...(spec.hostIPC ? [forbidden(`${field}.HostIPC`, why)] : []),
  ];
}

import { type StructSchema, structSchema, type TypeSchema } from '../../src/kube/schema/tables.ts';
import type { Container, Pod } from '../../src/kube/types.ts';
import { whyNoAppArmor } from '../containers/apparmor.ts';
import type { AdmitHandler, Rejection } from './admission-ports.ts';
import type { FieldSupport } from './field-support/entry.ts';
import { supportOf } from './field-support/field-support.ts';

/** What the Engine can do about a container's confinement; its `/info` tells. */
export interface EngineFeatures {
  appArmor: boolean;
  /** System calls are filtered, by default with the Engine's own profile: what RuntimeDefault promises. */
  seccomp: boolean;
  seLinux: boolean;
}

/** `SecurityOptions` of the Engine's `/info`: `name=seccomp,profile=default`, `name=apparmor`, …. */
export function parseEngineFeatures(securityOptions: readonly string[]): EngineFeatures {
  const options = securityOptions.map((option) => Object.fromEntries(option.split(',').map((part) => part.split('='))));
  const has = (wanted: string) => options.some(({ name }) => name === wanted);
  const seccomp = options.some(({ name, profile }) => name === 'seccomp' && profile !== 'unconfined');
  return { appArmor: has('apparmor'), seccomp, seLinux: has('selinux') };
}

/**
 * Why this node does not take the pod: what it asks for and cannot have is named, field by field, since running without
 * would break what its author relies on. undefined: nothing.
 */
export function refuseUnsupported(pod: Pod, engine: EngineFeatures): Rejection | undefined {
  const refused = findFields(pod, 'refused');
  if (pod.spec.hostPID && pod.spec.shareProcessNamespace)
    refused.push('spec.shareProcessNamespace: not with hostPID, which shares the host’s processes');
  if (!engine.seccomp && asksForDefaultSeccomp(pod))
    refused.push(
      'seccompProfile: the Engine runs without seccomp or without a default profile, so that nothing would be filtered',
    );
  if (refused.length > 0)
    return { reason: 'PodFeatureUnsupported', message: `not supported by this node: ${refused.join('; ')}` };
  const appArmor = whyNoAppArmor(pod, engine.appArmor);
  return appArmor === undefined ? undefined : { reason: 'AppArmor', message: `Cannot enforce AppArmor: ${appArmor}` };
}

/** The stage of admission that asks whether the Engine can do what the pod wants. By then the Engine has answered. */
export function createFeaturesHandler(engine: () => EngineFeatures): AdmitHandler {
  return { name: 'features', admit: (pod) => refuseUnsupported(pod, engine()) };
}

/** Fields that the pod sets in vain, each with the reason; for an event. */
export function fieldsWithoutEffect(pod: Pod, engine: EngineFeatures): string[] {
  const fields = findFields(pod, 'no effect');
  if (
    !engine.seLinux &&
    [pod.spec, ...everyContainer(pod)].some(({ securityContext }) => securityContext?.seLinuxOptions)
  )
    fields.push('seLinuxOptions: the Engine runs without SELinux');
  return fields;
}

function everyContainer({ spec }: Pod): Container[] {
  return [...(spec.initContainers ?? []), ...spec.containers, ...((spec.ephemeralContainers ?? []) as Container[])];
}

/** With a profile of its own a container is filtered by that, or the Engine says that it can't. */
function asksForDefaultSeccomp(pod: Pod): boolean {
  const profiles = [pod.spec, ...everyContainer(pod)].map(({ securityContext }) => securityContext?.seccompProfile);
  return profiles.some((profile) => profile?.type === 'RuntimeDefault');
}

function findFields(pod: Pod, kind: 'refused' | 'no effect'): string[] {
  const found: string[] = [];
  visit(pod.spec, structSchema('core/v1', 'PodSpec'), 'spec', kind, found);
  return found;
}

/** Walks what is set, along the schema; a field that is not in it was misspelt, or is of a newer Kubernetes. */
function visit(value: object, schema: StructSchema, path: string, kind: FieldSupport['kind'], found: string[]): void {
  for (const [name, item] of Object.entries(value)) {
    if (isUnset(item, kind)) continue;
    const at = `${path}.${name}`;
    const field = schema.fields.get(name);
    const support = field && supportOf(schema.name, name);
    if (!field || !support) {
      if (kind === 'no effect') found.push(`${at}: unknown`);
    } else if (support.kind === kind && isAsked(support, item)) found.push(describe(at, item, support));
    else if (support.kind !== 'elsewhere') descend(item, field.type, at, kind, found);
  }
}

function descend(value: unknown, type: TypeSchema, path: string, kind: FieldSupport['kind'], found: string[]): void {
  if (type.kind === 'struct' && typeof value === 'object' && value !== null) visit(value, type, path, kind, found);
  else if (type.kind === 'list' && Array.isArray(value))
    for (const [index, item] of value.entries()) descend(item, type.element, `${path}[${index}]`, kind, found);
}

function isUnset(value: unknown, kind: FieldSupport['kind']): boolean {
  if (value === undefined || value === null || value === '') return true;
  if (Array.isArray(value)) return value.length === 0;
  // An empty object may ask for something (`emptyDir: {}`), but never in vain.
  return kind === 'no effect' && typeof value === 'object' && Object.keys(value).length === 0;
}

function isAsked(support: FieldSupport, value: unknown): boolean {
  if ((support.kind === 'refused' || support.kind === 'no effect') && support.when) return support.when(value);
  return value !== false && value !== 0;
}

function describe(path: string, value: unknown, support: FieldSupport): string {
  const { why, values } = support as { why: string; values?: string };
  if (typeof value !== 'object') return `${path} ${JSON.stringify(value)}: ${why}`;
  return `${path}: ${values ? `${values.replaceAll('`', '')}: ` : ''}${why}`;
}

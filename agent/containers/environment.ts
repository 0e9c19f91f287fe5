import { posix } from 'node:path';
import type { Container, EnvVarSource, FileKeySelector, Pod } from '../../src/kube/types.ts';
import type { ConfigSources, ServiceEnvironment } from '../pods/ports.ts';
import { parseEnvFile, readVolumeFile } from './env-file.ts';
import { configError } from './errors.ts';
import { expandVariables } from './expansion.ts';
import {
  containerResourceField,
  type NodeAllocatable,
  needsPodAddress,
  type PodAddresses,
  podField,
} from './fields.ts';
import type { MountedVolume } from './mounts.ts';

export interface EnvironmentInput {
  pod: Pod;
  container: Container;
  addresses: PodAddresses;
  allocatable: NodeAllocatable;
}

export interface EnvironmentSources {
  /** Absent in standalone mode: references to API objects are then an error. */
  config?: ConfigSources;
  services?: ServiceEnvironment;
  /** Ready on the host, for fileKeyRef. */
  volumes?: ReadonlyMap<string, Pick<MountedVolume, 'hostPath'>>;
}

export interface ContainerEnvironment {
  /** Name → value, in the order in which they were first set. */
  variables: Map<string, string>;
  /** Keys of envFrom sources that cannot be names, for the event InvalidEnvironmentVariableNames. */
  invalid: { source: string; keys: string[] }[];
}

/** Whether the environment can be made only after the pod has its address. */
export function needsAddress(container: Container): boolean {
  return (container.env ?? []).some((env) => needsPodAddress(env.valueFrom?.fieldRef?.fieldPath ?? ''));
}

/** Printable ASCII without `=` (since 1.34). */
function isEnvironmentName(name: string): boolean {
  return /^[\x20-\x3c\x3e-\x7e]+$/.test(name);
}

/** Sheet §7: envFrom, then env (each later one wins), then the services' variables that are not set yet. */
export async function buildEnvironment(
  input: EnvironmentInput,
  sources: EnvironmentSources,
): Promise<ContainerEnvironment> {
  const { pod, container } = input;
  const namespace = pod.metadata.namespace ?? 'default';
  const serviceVariables = new Map(
    (sources.services?.(namespace, pod.spec.enableServiceLinks ?? true) ?? []).map(({ name, value }) => [
      name,
      value ?? '',
    ]),
  );
  const variables = new Map<string, string>();
  const invalid: ContainerEnvironment['invalid'] = [];

  for (const from of container.envFrom ?? []) {
    const found = from.configMapRef
      ? await wholeConfigMap(
          sources.config,
          namespace,
          from.configMapRef.name ?? '',
          from.configMapRef.optional ?? false,
        )
      : await wholeSecret(sources.config, namespace, from.secretRef?.name ?? '', from.secretRef?.optional ?? false);
    const bad: string[] = [];
    for (const key of Object.keys(found.data).sort()) {
      const name = `${from.prefix ?? ''}${key}`;
      if (isEnvironmentName(name)) variables.set(name, found.data[key]!);
      else bad.push(name);
    }
    if (bad.length > 0) invalid.push({ source: found.source, keys: bad });
  }

  const lookup = (name: string) => variables.get(name) ?? serviceVariables.get(name);
  for (const env of container.env ?? []) {
    const value = env.valueFrom
      ? await referencedValue(env.valueFrom, input, sources)
      : expandVariables(env.value ?? '', lookup);
    if (value !== undefined) variables.set(env.name, value);
  }
  for (const [name, value] of serviceVariables) if (!variables.has(name)) variables.set(name, value);
  return { variables, invalid };
}

/** undefined: optional and not there, the variable is left out. */
async function referencedValue(
  from: EnvVarSource,
  input: EnvironmentInput,
  sources: EnvironmentSources,
): Promise<string | undefined> {
  const namespace = input.pod.metadata.namespace ?? 'default';
  if (from.fieldRef) {
    const value = podField(input.pod, from.fieldRef.fieldPath, input.addresses);
    if (value === undefined) throw configError(`unsupported fieldPath: ${from.fieldRef.fieldPath}`);
    return value;
  }
  if (from.resourceFieldRef)
    return containerResourceField(input.pod, input.container, from.resourceFieldRef, input.allocatable);
  if (from.configMapKeyRef) {
    const { name = '', key, optional = false } = from.configMapKeyRef;
    const { data, missing } = await wholeConfigMap(sources.config, namespace, name, optional);
    if (data[key] !== undefined || optional || missing) return data[key];
    throw configError(`couldn't find key ${key} in ConfigMap ${namespace}/${name}`);
  }
  if (from.secretKeyRef) {
    const { name = '', key, optional = false } = from.secretKeyRef;
    const { data, missing } = await wholeSecret(sources.config, namespace, name, optional);
    if (data[key] !== undefined || optional || missing) return data[key];
    throw configError(`couldn't find key ${key} in Secret ${namespace}/${name}`);
  }
  if (from.fileKeyRef) return fileValue(from.fileKeyRef, sources.volumes);
  return '';
}

/** From a file that an earlier container wrote. As upstream, an empty value counts as none. */
async function fileValue(
  { volumeName, path, key, optional = false }: FileKeySelector,
  volumes: EnvironmentSources['volumes'],
): Promise<string | undefined> {
  const volume = volumes?.get(volumeName);
  if (!volume) throw configError(`cannot find the volume "${volumeName}" referenced by FileKeyRef`);
  let text: string | undefined;
  let value: string | undefined;
  try {
    text = await readVolumeFile(volume.hostPath, path);
    value = text === undefined ? undefined : parseEnvFile(text, key);
  } catch (error) {
    throw configError("couldn't parse env file", error);
  }
  if (value) return value;
  if (optional) return undefined;
  if (text === undefined) throw configError("couldn't parse env file", new Error(`${path}: no such file`));
  throw configError(`environment variable key "${key}" not found in file "${posix.join(volume.hostPath, path)}"`);
}

interface WholeObject {
  source: string;
  data: Record<string, string>;
  missing: boolean;
}

function withoutApi(kind: string, name: string): never {
  throw configError(`${kind} "${name}" cannot be read: this node runs without an API server`);
}

async function wholeConfigMap(
  config: ConfigSources | undefined,
  namespace: string,
  name: string,
  optional: boolean,
): Promise<WholeObject> {
  const source = `ConfigMap ${namespace}/${name}`;
  if (!config) return withoutApi('configmap', name);
  const found = await config.configMap(namespace, name);
  if (!found && !optional) throw configError(`configmap "${name}" not found`);
  return { source, data: found?.data ?? {}, missing: !found };
}

async function wholeSecret(
  config: ConfigSources | undefined,
  namespace: string,
  name: string,
  optional: boolean,
): Promise<WholeObject> {
  const source = `Secret ${namespace}/${name}`;
  if (!config) return withoutApi('secret', name);
  const found = await config.secret(namespace, name);
  if (!found && !optional) throw configError(`secret "${name}" not found`);
  const data = Object.entries(found?.data ?? {}).map(([key, value]) => [key, Buffer.from(value, 'base64').toString()]);
  return { source, data: Object.fromEntries(data), missing: !found };
}

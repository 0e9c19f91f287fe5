import { isUtf8 } from 'node:buffer';
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
    for (const key of found.keys()) {
      const name = `${from.prefix ?? ''}${key}`;
      if (isEnvironmentName(name)) variables.set(name, found.value(key)!);
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
    const value = (await wholeConfigMap(sources.config, namespace, name, optional)).value(key);
    if (value !== undefined || optional) return value;
    throw configError(`couldn't find key ${key} in ConfigMap ${namespace}/${name}`);
  }
  if (from.secretKeyRef) {
    const { name = '', key, optional = false } = from.secretKeyRef;
    const value = (await wholeSecret(sources.config, namespace, name, optional)).value(key);
    if (value !== undefined || optional) return value;
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

/** A ConfigMap or Secret; an optional one that is not there has no keys. */
interface WholeObject {
  /** `configMap default/settings`, for the event. */
  source: string;
  /** Sorted. */
  keys(): string[];
  value(key: string): string | undefined;
}

function wholeObject(
  source: string,
  data: Record<string, string>,
  read: (text: string, key: string) => string,
): WholeObject {
  return {
    source,
    keys: () => Object.keys(data).sort(),
    value: (key) => (Object.hasOwn(data, key) ? read(data[key]!, key) : undefined),
  };
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
  if (!config) return withoutApi('configmap', name);
  const found = await config.configMap(namespace, name);
  if (!found && !optional) throw configError(`configmap "${name}" not found`);
  return wholeObject(`configMap ${namespace}/${name}`, found?.data ?? {}, (text) => text);
}

async function wholeSecret(
  config: ConfigSources | undefined,
  namespace: string,
  name: string,
  optional: boolean,
): Promise<WholeObject> {
  if (!config) return withoutApi('secret', name);
  const found = await config.secret(namespace, name);
  if (!found && !optional) throw configError(`secret "${name}" not found`);
  return wholeObject(`secret ${namespace}/${name}`, found?.data ?? {}, (base64, key) => {
    const bytes = Buffer.from(base64, 'base64');
    // The Engine takes text; replacement characters would be another password.
    if (!isUtf8(bytes))
      throw configError(`key ${key} of Secret ${namespace}/${name} is not UTF-8 text: mount it as a file instead`);
    return bytes.toString();
  });
}

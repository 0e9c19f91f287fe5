import type {
  DownwardAPIVolumeFile,
  KeyToPath,
  Pod,
  ProjectedVolumeSource,
  Volume,
  VolumeProjection,
} from '../../src/kube/types.ts';
import { containerResourceField, type NodeAllocatable, podField } from '../containers/fields.ts';
import type { ConfigSources } from '../pods/ports.ts';
import type { Payload, PayloadFile } from './atomic-writer.ts';
import type { ServiceAccountTokens } from './tokens.ts';

const DEFAULT_MODE = 0o644;

export interface PayloadSources {
  config?: ConfigSources;
  tokens?: ServiceAccountTokens;
  allocatable: NodeAllocatable;
}

/** Volume types whose content the agent writes. */
export type PayloadVolume = 'configMap' | 'secret' | 'downwardAPI' | 'projected';

/** The files of a configMap, secret, downwardAPI or projected volume. Throws with the API's words when something required is missing. */
export async function buildPayload(pod: Pod, volume: Volume, sources: PayloadSources): Promise<Payload> {
  if (volume.configMap) {
    const { name = '', items, defaultMode = DEFAULT_MODE, optional } = volume.configMap;
    return configMapFiles(sources, pod, name, items, defaultMode, optional ?? false);
  }
  if (volume.secret) {
    const { secretName = '', items, defaultMode = DEFAULT_MODE, optional } = volume.secret;
    return secretFiles(sources, pod, secretName, items, defaultMode, optional ?? false);
  }
  if (volume.downwardAPI) {
    const { items = [], defaultMode = DEFAULT_MODE } = volume.downwardAPI;
    return downwardFiles(pod, items, defaultMode, sources.allocatable);
  }
  return projectedFiles(pod, volume.projected!, sources);
}

async function configMapFiles(
  sources: PayloadSources,
  pod: Pod,
  name: string,
  items: KeyToPath[] | undefined,
  mode: number,
  optional: boolean,
): Promise<Payload> {
  if (!sources.config) throw new Error(`configmap "${name}" cannot be read: this node runs without an API server`);
  const found = await sources.config.configMap(pod.metadata.namespace ?? 'default', name);
  if (!found && !optional) throw new Error(`configmap "${name}" not found`);
  const data = new Map<string, Buffer>();
  for (const [key, value] of Object.entries(found?.data ?? {})) data.set(key, Buffer.from(value));
  for (const [key, value] of Object.entries(found?.binaryData ?? {})) data.set(key, Buffer.from(value, 'base64'));
  return selectItems(data, items, mode, optional, `configmap`);
}

async function secretFiles(
  sources: PayloadSources,
  pod: Pod,
  name: string,
  items: KeyToPath[] | undefined,
  mode: number,
  optional: boolean,
): Promise<Payload> {
  if (!sources.config) throw new Error(`secret "${name}" cannot be read: this node runs without an API server`);
  const found = await sources.config.secret(pod.metadata.namespace ?? 'default', name);
  if (!found && !optional) throw new Error(`secret "${name}" not found`);
  const data = new Map<string, Buffer>();
  for (const [key, value] of Object.entries(found?.data ?? {})) data.set(key, Buffer.from(value, 'base64'));
  return selectItems(data, items, mode, optional, 'secret');
}

function selectItems(
  data: ReadonlyMap<string, Buffer>,
  items: KeyToPath[] | undefined,
  mode: number,
  optional: boolean,
  kind: string,
): Payload {
  const payload = new Map<string, PayloadFile>();
  if (!items?.length) {
    for (const [key, value] of data) payload.set(key, { data: value, mode });
    return payload;
  }
  for (const { key, path, mode: own } of items) {
    const value = data.get(key);
    if (value) payload.set(path, { data: value, mode: own ?? mode });
    else if (!optional) throw new Error(`${kind} references non-existent key: ${key}`);
  }
  return payload;
}

function downwardFiles(
  pod: Pod,
  items: readonly DownwardAPIVolumeFile[],
  mode: number,
  allocatable: NodeAllocatable,
): Payload {
  const payload = new Map<string, PayloadFile>();
  for (const item of items) {
    const text = item.fieldRef
      ? podField(pod, item.fieldRef.fieldPath, { podIps: [], hostIps: [] })
      : item.resourceFieldRef && containerResourceField(pod, undefined, item.resourceFieldRef, allocatable);
    if (text === undefined) throw new Error(`unsupported fieldPath: ${item.fieldRef?.fieldPath ?? '(none)'}`);
    payload.set(item.path, { data: Buffer.from(text), mode: item.mode ?? mode });
  }
  return payload;
}

/** Read at the same time, put together in order: a later one wins where paths are equal. */
async function projectedFiles(pod: Pod, projected: ProjectedVolumeSource, sources: PayloadSources): Promise<Payload> {
  const mode = projected.defaultMode ?? DEFAULT_MODE;
  const read = (projected.sources ?? []).map((source) => projectionFiles(pod, source, mode, sources));
  const payload = new Map<string, PayloadFile>();
  for (const files of await Promise.all(read)) for (const [path, file] of files) payload.set(path, file);
  return payload;
}

async function projectionFiles(
  pod: Pod,
  source: VolumeProjection,
  mode: number,
  sources: PayloadSources,
): Promise<Payload> {
  const { configMap, secret, downwardAPI, serviceAccountToken } = source;
  if (configMap)
    return configMapFiles(sources, pod, configMap.name ?? '', configMap.items, mode, configMap.optional ?? false);
  if (secret) return secretFiles(sources, pod, secret.name ?? '', secret.items, mode, secret.optional ?? false);
  if (downwardAPI) return downwardFiles(pod, downwardAPI.items ?? [], mode, sources.allocatable);
  if (!serviceAccountToken)
    throw new Error(`projected source ${Object.keys(source).join(', ') || '(none)'} is not supported yet`);
  if (!sources.tokens) throw new Error('service account tokens need an API server, and this node runs without one');
  const token = await sources.tokens.token(pod, serviceAccountToken);
  return new Map([[serviceAccountToken.path, { data: Buffer.from(token), ...tokenOwner(pod) }]]);
}

/** A token is readable by the one user that all containers run as, else by everybody in the pod (sheet §8). */
function tokenOwner(pod: Pod): Pick<PayloadFile, 'mode' | 'uid'> {
  const users = new Set(
    [...(pod.spec.initContainers ?? []), ...pod.spec.containers].map(
      (container) => container.securityContext?.runAsUser ?? pod.spec.securityContext?.runAsUser,
    ),
  );
  const [uid] = users;
  if (pod.spec.securityContext?.fsGroup !== undefined) return { mode: 0o600 };
  return users.size === 1 && uid !== undefined ? { mode: 0o600, uid } : { mode: 0o644 };
}

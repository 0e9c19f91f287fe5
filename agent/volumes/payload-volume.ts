import { mkdir } from 'node:fs/promises';
import type { mountFileSystem } from '../../src/linux/mounts.ts';
import type { MountedVolume } from '../containers/mounts.ts';
import type { ConfigSources } from '../pods/ports.ts';
import type { PodResources } from '../pods/resource-ports.ts';
import { hasPayload, type Payload, writeAtomically } from './atomic-writer.ts';
import { buildPayload, type PayloadVolume } from './payload.ts';
import type { VolumePlugin, VolumeRequest } from './plugin.ts';
import { ensureTmpfs } from './tmpfs.ts';
import type { ServiceAccountTokens } from './tokens.ts';

export interface PayloadDependencies {
  /** Absent in standalone mode. */
  config?: ConfigSources;
  tokens?: ServiceAccountTokens;
  resources: Pick<PodResources, 'nodeAllocatable'>;
  mount: typeof mountFileSystem;
  /** Told of a refresh that failed while files of an earlier one are there: with those the pod lives on. */
  onRefreshFailed(request: VolumeRequest, error: unknown): void;
}

const PLUGIN: Record<PayloadVolume, string> = {
  configMap: 'kubernetes.io/configmap',
  secret: 'kubernetes.io/secret',
  downwardAPI: 'kubernetes.io/downward-api',
  projected: 'kubernetes.io/projected',
};
/** Secrets must not reach a disk. */
const IN_MEMORY = new Set<PayloadVolume>(['secret', 'projected', 'downwardAPI']);

/** The volumes whose files the agent writes: from ConfigMaps, Secrets, tokens and the pod itself. */
export function createPayloadPlugins(deps: PayloadDependencies): VolumePlugin[] {
  async function setUp(kind: PayloadVolume, request: VolumeRequest): Promise<MountedVolume> {
    const { pod, volume } = request;
    const path = request.directory(PLUGIN[kind]);
    const mounted: MountedVolume = { hostPath: path, readOnly: true, agentOwned: true };
    let payload: Payload;
    try {
      const allocatable = deps.resources.nodeAllocatable();
      payload = await buildPayload(pod, volume, { config: deps.config, tokens: deps.tokens, allocatable });
    } catch (error) {
      if (!(await hasPayload(path))) throw error;
      deps.onRefreshFailed(request, error);
      return mounted;
    }
    await mkdir(path, { recursive: true, mode: 0o755 });
    if (IN_MEMORY.has(kind)) ensureTmpfs(deps.mount, path, 'mode=0755');
    await writeAtomically(path, payload, { gid: pod.spec.securityContext?.fsGroup });
    return mounted;
  }

  return (Object.keys(PLUGIN) as PayloadVolume[]).map((kind) => ({
    kind,
    refreshes: true,
    directories: [PLUGIN[kind]],
    setUp: (request) => setUp(kind, request),
  }));
}

import { chmod, chown, mkdir } from 'node:fs/promises';
import { parseQuantity } from '../../src/kube/quantity.ts';
import type { Pod, Volume } from '../../src/kube/types.ts';
import { mountFileSystem } from '../../src/linux/mounts.ts';
import type { MountedVolume } from '../containers/mounts.ts';
import type { ConfigSources, EventSink, PodResources } from '../pods/ports.ts';
import { hasPayload, type Payload, writeAtomically } from './atomic-writer.ts';
import { ensureHostPath } from './host-path.ts';
import { buildPayload, type PayloadVolume } from './payload.ts';
import { isMountPoint, type PodDirectories } from './pod-directories.ts';
import type { ServiceAccountTokens } from './tokens.ts';

export interface VolumeDependencies {
  directories: PodDirectories;
  /** Absent in standalone mode. */
  config?: ConfigSources;
  tokens?: ServiceAccountTokens;
  resources: Pick<PodResources, 'nodeAllocatable'>;
  events: EventSink;
  /** Mounts a tmpfs; the kernel's unless said. */
  mount?: typeof mountFileSystem;
}

export interface Volumes {
  /**
   * Makes or refreshes all volumes of the pod. Every failing one gets a FailedMount event; then it throws, unless what
   * failed was only the refresh of files that are there: with those the pod lives on.
   */
  ensure(pod: Pod): Promise<ReadonlyMap<string, MountedVolume>>;
}

const PLUGIN: Record<PayloadVolume, string> = {
  configMap: 'kubernetes.io/configmap',
  secret: 'kubernetes.io/secret',
  downwardAPI: 'kubernetes.io/downward-api',
  projected: 'kubernetes.io/projected',
};
const EMPTY_DIR_PLUGIN = 'kubernetes.io/empty-dir';
/** Secrets must not reach a disk. */
const IN_MEMORY = new Set<PayloadVolume>(['secret', 'projected', 'downwardAPI']);

export function createVolumes(deps: VolumeDependencies): Volumes {
  const { directories, mount = mountFileSystem } = deps;

  async function ensureOne(pod: Pod, volume: Volume): Promise<MountedVolume> {
    const payloadType = (Object.keys(PLUGIN) as PayloadVolume[]).find((type) => volume[type]);
    if (payloadType) return ensurePayload(pod, volume, payloadType);
    if (volume.hostPath) {
      await ensureHostPath(volume.hostPath.path, volume.hostPath.type);
      return { hostPath: volume.hostPath.path, readOnly: false, agentOwned: false };
    }
    if (volume.emptyDir) return ensureEmptyDir(pod, volume);
    const type = Object.keys(volume).find((key) => key !== 'name');
    // The API's default volume type, as an object that skipped defaulting has it.
    if (!type) return ensureEmptyDir(pod, { ...volume, emptyDir: {} });
    throw new Error(`volumes of type ${type} are not supported yet`);
  }

  async function ensureEmptyDir(pod: Pod, volume: Volume): Promise<MountedVolume> {
    const { medium = '', sizeLimit } = volume.emptyDir!;
    if (medium !== '' && medium !== 'Memory') throw new Error(`emptyDir medium ${medium} is not supported yet`);
    const path = directories.volume(pod.metadata.uid, EMPTY_DIR_PLUGIN, volume.name);
    await mkdir(path, { recursive: true, mode: 0o750 });
    if (medium === 'Memory' && !(await isMountPoint(path))) {
      const bytes = memoryVolumeBytes(pod, sizeLimit, deps.resources.nodeAllocatable().memoryBytes);
      mount({ source: 'tmpfs', target: path, type: 'tmpfs', data: `size=${bytes}` });
    }
    const { fsGroup } = pod.spec.securityContext ?? {};
    if (fsGroup !== undefined) await chown(path, 0, fsGroup);
    await chmod(path, fsGroup === undefined ? 0o777 : 0o2777);
    return { hostPath: path, readOnly: false, agentOwned: false };
  }

  async function ensurePayload(pod: Pod, volume: Volume, type: PayloadVolume): Promise<MountedVolume> {
    const path = directories.volume(pod.metadata.uid, PLUGIN[type], volume.name);
    const mounted: MountedVolume = { hostPath: path, readOnly: true, agentOwned: true };
    let payload: Payload;
    try {
      const allocatable = deps.resources.nodeAllocatable();
      payload = await buildPayload(pod, volume, { config: deps.config, tokens: deps.tokens, allocatable });
    } catch (error) {
      if (!(await hasPayload(path))) throw error;
      failed(pod, volume, error);
      return mounted;
    }
    await mkdir(path, { recursive: true, mode: 0o755 });
    if (IN_MEMORY.has(type) && !(await isMountPoint(path)))
      mount({ source: 'tmpfs', target: path, type: 'tmpfs', data: 'mode=0755' });
    await writeAtomically(path, payload, { gid: pod.spec.securityContext?.fsGroup });
    return mounted;
  }

  function failed(pod: Pod, volume: Volume, error: unknown): string {
    const message = `MountVolume.SetUp failed for volume "${volume.name}" : ${error instanceof Error ? error.message : error}`;
    deps.events.event(pod, 'Warning', 'FailedMount', message);
    return message;
  }

  return {
    async ensure(pod) {
      const mounted = new Map<string, MountedVolume>();
      const failures: Error[] = [];
      for (const volume of pod.spec.volumes ?? []) {
        try {
          mounted.set(volume.name, await ensureOne(pod, volume));
        } catch (error) {
          failures.push(new Error(failed(pod, volume, error), { cause: error }));
        }
      }
      if (failures.length === 1) throw failures[0];
      if (failures.length > 1) throw new AggregateError(failures, failures.map(({ message }) => message).join('; '));
      return mounted;
    },
  };
}

/** The least of the volume's limit, the pod's memory limit (when all containers have one) and the node's memory. */
function memoryVolumeBytes(pod: Pod, sizeLimit: string | undefined, allocatableBytes: number): number {
  const bounds = [allocatableBytes];
  if (sizeLimit) bounds.push(Number(parseQuantity(sizeLimit).value));
  const limits = pod.spec.containers.map(({ resources }) => resources?.limits?.['memory']);
  if (limits.every((limit) => limit !== undefined))
    bounds.push(limits.reduce((sum, limit) => sum + Number(parseQuantity(limit!).value), 0));
  return Math.min(...bounds.filter((bytes) => bytes > 0));
}

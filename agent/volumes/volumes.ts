import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Pod, Volume } from '../../src/kube/types.ts';
import { mountFileSystem } from '../../src/linux/mounts.ts';
import { type Clock, systemClock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import type { Registry } from '../../src/runtime/metrics.ts';
import type { MountedVolume } from '../containers/mounts.ts';
import type { ConfigSources, EventSink } from '../pods/ports.ts';
import type { PodResources } from '../pods/resource-ports.ts';
import { createCleanUp } from './clean-up.ts';
import { createEmptyDirPlugin } from './empty-dir.ts';
import { applyFsGroup } from './fs-group.ts';
import { createHostPathPlugin } from './host-path.ts';
import { createPathResponse } from './path-response.ts';
import { createPayloadPlugins } from './payload-volume.ts';
import type { VolumeKind, VolumePlugin, VolumeRequest } from './plugin.ts';
import type { PodDirectories } from './pod-directories.ts';
import type { ServiceAccountTokens } from './tokens.ts';
import { createVolumeMetrics, pluginNameOf } from './volume-metrics.ts';

export interface VolumeDependencies {
  directories: PodDirectories;
  /** Absent in standalone mode. */
  config?: ConfigSources;
  tokens?: ServiceAccountTokens;
  resources: Pick<PodResources, 'nodeAllocatable'>;
  events: EventSink;
  log: Logger;
  clock?: Clock;
  /** Volumes beyond those that need nothing but this node: claims, CSI, NFS, …. */
  volumePlugins?: readonly VolumePlugin[];
  /** Where metrics about volumes are shown; nowhere when absent. */
  registry?: Registry;
  /** Mounts a tmpfs; the kernel's unless said. */
  mount?: typeof mountFileSystem;
}

export interface Volumes {
  /**
   * Makes or refreshes all volumes of the pod. Every failing one gets a FailedMount event; then it throws, unless what
   * failed was only the refresh of files that are there: with those the pod lives on.
   */
  ensure(pod: Pod, signal?: AbortSignal): Promise<ReadonlyMap<string, MountedVolume>>;
  /**
   * Gives back everything that the pod's volumes hold and deletes its directory; the pod itself may be long gone.
   * Idempotent. False: something is in the way (told by event and log), try again later.
   */
  remove(podUid: string, pod?: Pod): Promise<boolean>;
}

/** Those that some container mounts; as upstream, the others are never made, and their troubles hold nobody back. */
function usedVolumes({ spec }: Pod): Volume[] {
  const used = new Set<string>();
  for (const list of [spec.initContainers, spec.containers, spec.ephemeralContainers])
    for (const { volumeMounts, volumeDevices } of list ?? [])
      for (const { name } of [...(volumeMounts ?? []), ...(volumeDevices ?? [])]) used.add(name);
  return (spec.volumes ?? []).filter(({ name }) => used.has(name));
}

async function giveToGroup(pod: Pod, { hostPath, takesFsGroup, readOnly }: MountedVolume): Promise<void> {
  const { fsGroup, fsGroupChangePolicy = 'Always' } = pod.spec.securityContext ?? {};
  if (!takesFsGroup || fsGroup === undefined) return;
  const policy = fsGroupChangePolicy === 'OnRootMismatch' ? 'OnRootMismatch' : 'Always';
  try {
    await applyFsGroup(hostPath, { gid: fsGroup, policy, readOnly });
  } catch (error) {
    throw new Error(`applyFSGroup failed for ${hostPath}: ${error instanceof Error ? error.message : error}`, {
      cause: error,
    });
  }
}

/** The registry of volume plugins, and what all of them have in common. */
export function createVolumes(deps: VolumeDependencies): Volumes {
  const { directories, mount = mountFileSystem, clock = systemClock } = deps;
  const plugins = new Map<string, VolumePlugin>();
  for (const plugin of [
    createEmptyDirPlugin({ resources: deps.resources, mount }),
    createHostPathPlugin(createPathResponse(clock)),
    ...createPayloadPlugins({
      ...deps,
      mount,
      onRefreshFailed: ({ pod, volume }, error) => failed(pod, volume, error),
    }),
    ...(deps.volumePlugins ?? []),
  ])
    plugins.set(plugin.kind, plugin);
  /** By pod UID and volume (a manifest may keep its UID and change): what was set up in this life of the agent. */
  const done = new Map<string, Map<string, MountedVolume>>();
  /** By pod UID: the volumes that it is to have. */
  const desired = new Map<string, readonly Volume[]>();
  const metrics = createVolumeMetrics(deps.registry, {
    desired: () =>
      [...desired].flatMap(([uid, volumes]) => volumes.map((volume) => pluginNameOf(volume, mountOf(uid, volume)))),
    actual: () =>
      [...done].flatMap(([, mounted]) =>
        [...mounted].map(([key, { hostPath }]) => pluginNameOf(JSON.parse(key) as Volume, hostPath)),
      ),
  });
  const mountOf = (uid: string, volume: Volume) => done.get(uid)?.get(JSON.stringify(volume))?.hostPath;
  const cleanUp = createCleanUp({ ...deps, plugins, metrics, clock });

  function pluginOf(volume: Volume): VolumePlugin {
    // The API's default volume type, as an object that skipped defaulting has it.
    const kind = (Object.keys(volume).find((key) => key !== 'name') as VolumeKind | undefined) ?? 'emptyDir';
    const plugin = plugins.get(kind);
    if (!plugin)
      throw new Error(
        `failed to get Plugin from volumeSpec for volume "${volume.name}" err=no volume plugin matched ${kind}`,
      );
    return plugin;
  }

  async function ensureOne(pod: Pod, volume: Volume, signal?: AbortSignal): Promise<MountedVolume> {
    const { uid } = pod.metadata;
    const key = JSON.stringify(volume);
    const plugin = pluginOf(volume);
    const known = done.get(uid)?.get(key);
    if (known && !plugin.refreshes && !known.refreshes) return known;
    const request: VolumeRequest = {
      pod,
      volume,
      directory: (name, own = volume.name) => directories.volume(uid, name, own),
      ...(signal && { signal }),
    };
    for (const name of plugin.directories)
      await mkdir(dirname(request.directory(name)), { recursive: true, mode: 0o750 });
    const mounted = known ? await plugin.setUp(request) : await timedMount(pod, volume, plugin, request);
    if (mounted.unavailable) return mounted;
    if (!done.has(uid)) done.set(uid, new Map());
    done.get(uid)!.set(key, mounted);
    return mounted;
  }

  /** A volume's first time, which is told as upstream's operation. */
  async function timedMount(pod: Pod, volume: Volume, plugin: VolumePlugin, request: VolumeRequest) {
    const startedMs = clock.monotonicMs();
    const tell = (hostPath: string | undefined, succeeded: boolean) => {
      const seconds = (clock.monotonicMs() - startedMs) / 1000;
      metrics.operation('volume_mount', pluginNameOf(volume, hostPath), seconds, succeeded);
    };
    try {
      const mounted = await plugin.setUp(request);
      if (mounted.unavailable) return mounted;
      await giveToGroup(pod, mounted);
      tell(mounted.hostPath, true);
      return mounted;
    } catch (error) {
      if (!request.signal?.aborted) tell(undefined, false);
      throw error;
    }
  }

  function failed(pod: Pod, volume: Volume, error: unknown): string {
    const message = `MountVolume.SetUp failed for volume "${volume.name}" : ${error instanceof Error ? error.message : error}`;
    deps.events.event(pod, 'Warning', 'FailedMount', message);
    return message;
  }

  return {
    async ensure(pod, signal) {
      const volumes = usedVolumes(pod);
      desired.set(pod.metadata.uid, volumes);
      const results = await Promise.allSettled(volumes.map((volume) => ensureOne(pod, volume, signal)));
      // A pod that is being ended has no failures to tell.
      signal?.throwIfAborted();
      const mounted = new Map<string, MountedVolume>();
      const failures: Error[] = [];
      for (const [index, result] of results.entries()) {
        const volume = volumes[index]!;
        if (result.status === 'fulfilled') mounted.set(volume.name, result.value);
        else failures.push(new Error(failed(pod, volume, result.reason), { cause: result.reason }));
      }
      if (failures.length === 1) throw failures[0];
      if (failures.length > 1) throw new AggregateError(failures, failures.map(({ message }) => message).join('; '));
      return mounted;
    },

    async remove(podUid, pod) {
      done.delete(podUid);
      desired.delete(podUid);
      return cleanUp.remove(podUid, pod);
    },
  };
}

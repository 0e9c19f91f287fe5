import type { PersistentVolume } from '../../../src/kube/types.ts';
import { volumeSources } from '../../../src/kube/volume-source.ts';
import type { MountedVolume } from '../../containers/mounts.ts';
import { volumeReaches } from '../../resources/node-affinity.ts';
import type { CsiVolumes } from '../csi/csi-volumes.ts';
import { inlineCsiVolume, persistentCsiVolume } from '../csi/requests.ts';
import { ensureHostPath } from '../host-path.ts';
import type { VolumeDirectory, VolumePlugin, VolumeRequest } from '../plugin.ts';
import { type ClaimApi, claimNameOf, resolveClaim } from './claims.ts';
import { ensureLocalVolume, LOCAL_PLUGIN, removeLocalMount } from './local.ts';
import { ensureNfsMount, NFS_PLUGIN, removeNfsMount } from './nfs.ts';
import type { MountedClaim } from './volume-stats.ts';

export interface ClaimPluginDependencies {
  api: ClaimApi;
  csi: Pick<CsiVolumes, 'plugin' | 'setUp' | 'tearDown' | 'stats'>;
  nodeName: string;
  /** Of the Node object, once it is known: a volume may be within the reach of some nodes only. */
  nodeLabels(): Record<string, string> | undefined;
}

export interface ClaimPlugins {
  readonly plugins: readonly VolumePlugin[];
  /** What pods have mounted, and can be measured. */
  claims(): readonly MountedClaim[];
}

/** Claims, generic ephemeral volumes, inline CSI volumes and NFS: volumes whose data does not live and die with the pod's directory. */
export function createClaimPlugins(dependencies: ClaimPluginDependencies): ClaimPlugins {
  const { api, csi, nodeName } = dependencies;
  /** Volumes that are published again and again, by pod and volume: the API is not asked anew for what was found once. */
  const resolved = new Map<string, PersistentVolume>();
  /** By pod and volume. A hostPath tells of the node's disk; a look at an NFS server that is away would never end. */
  const measurable = new Map<string, MountedClaim>();
  const directories = [csi.plugin, LOCAL_PLUGIN, NFS_PLUGIN];

  async function setUpClaim(request: VolumeRequest): Promise<MountedVolume> {
    const { pod, volume } = request;
    const key = `${pod.metadata.uid}/${volume.name}`;
    const found = resolved.get(key) ?? (await resolveClaim(pod, volume, api));
    const labels = dependencies.nodeLabels();
    // The scheduler has seen to it; an agent that has just started need not wait to see it too.
    if (labels && !volumeReaches(found, { name: nodeName, labels }))
      throw new Error(
        `storage node affinity check failed for volume ${JSON.stringify(found.metadata.name)} : no matching NodeSelectorTerms`,
      );
    const mounted = await setUpVolume(request, found);
    if (mounted.refreshes) resolved.set(key, found);
    if (found.spec.csi || found.spec.local)
      measurable.set(key, {
        namespace: pod.metadata.namespace!,
        claim: claimNameOf(pod, volume),
        path: mounted.hostPath,
        ...(found.spec.csi && { ask: () => csi.stats(persistentCsiVolume(found, false), mounted.hostPath) }),
      });
    return mounted;
  }

  async function setUpVolume(
    { pod, volume, directory, signal }: VolumeRequest,
    found: PersistentVolume,
  ): Promise<MountedVolume> {
    const { metadata, spec } = found;
    const readOnly = volume.persistentVolumeClaim?.readOnly ?? false;
    if (spec.csi)
      return csi.setUp(pod, persistentCsiVolume(found, readOnly), directory(csi.plugin, metadata.name), signal);
    if (spec.hostPath) {
      await ensureHostPath(spec.hostPath.path, spec.hostPath.type);
      return { hostPath: spec.hostPath.path, readOnly, agentOwned: false };
    }
    if (spec.local) {
      const path = directory(LOCAL_PLUGIN, metadata.name);
      await ensureLocalVolume(found, path);
      return { hostPath: path, readOnly, agentOwned: false, takesFsGroup: !readOnly };
    }
    if (spec.nfs) {
      const path = directory(NFS_PLUGIN, metadata.name);
      await ensureNfsMount(spec.nfs, spec.mountOptions ?? [], path, signal);
      return { hostPath: path, readOnly: readOnly || (spec.nfs.readOnly ?? false), agentOwned: false };
    }
    const [type] = volumeSources(spec)[0] ?? ['none'];
    throw new Error(
      `PersistentVolume ${metadata.name} is of type ${type}, which this node does not mount; it mounts csi, hostPath, local and nfs`,
    );
  }

  const tearDown = async (directory: VolumeDirectory): Promise<void> => {
    for (const known of [resolved, measurable])
      for (const key of known.keys()) if (key.startsWith(`${directory.podUid}/`)) known.delete(key);
    if (directory.plugin === csi.plugin) await csi.tearDown(directory);
    else if (directory.plugin === NFS_PLUGIN) await removeNfsMount(directory.path);
    else if (directory.plugin === LOCAL_PLUGIN) removeLocalMount(directory.path);
  };

  const plugins: VolumePlugin[] = [
    { kind: 'persistentVolumeClaim', refreshes: false, directories, setUp: setUpClaim, tearDown },
    { kind: 'ephemeral', refreshes: false, directories, setUp: setUpClaim, tearDown },
    {
      kind: 'csi',
      refreshes: false,
      directories: [csi.plugin],
      setUp: ({ pod, volume, directory, signal }) =>
        csi.setUp(pod, inlineCsiVolume(pod, volume), directory(csi.plugin), signal),
      tearDown,
    },
    nfsPlugin(tearDown),
  ];
  return { plugins, claims: () => [...measurable.values()] };
}

function nfsPlugin(tearDown: (directory: VolumeDirectory) => Promise<void>): VolumePlugin {
  return {
    kind: 'nfs',
    refreshes: false,
    directories: [NFS_PLUGIN],
    async setUp({ volume, directory, signal }) {
      const path = directory(NFS_PLUGIN);
      await ensureNfsMount(volume.nfs!, [], path, signal);
      return { hostPath: path, readOnly: volume.nfs!.readOnly ?? false, agentOwned: false };
    },
    tearDown,
  };
}

/** Standalone nodes have NFS alone: the others need an API server. */
export function createStandalonePlugins(): VolumePlugin[] {
  return [nfsPlugin(({ path }) => removeNfsMount(path))];
}

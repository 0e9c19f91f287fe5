import { createHash } from 'node:crypto';
import { mkdir, readdir, rm, rmdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { csiNode } from '../../../src/grpc/csi.ts';
import type { CSIDriver, Pod, VolumeAttachment } from '../../../src/kube/types.ts';
import { isMountPoint } from '../../../src/linux/mounts.ts';
import type { Clock } from '../../../src/runtime/clock.ts';
import type { Logger } from '../../../src/runtime/log.ts';
import type { MountedVolume } from '../../containers/mounts.ts';
import type { VolumeStats } from '../persistent/volume-stats.ts';
import type { VolumeDirectory } from '../plugin.ts';
import { attachedContext } from './attachment.ts';
import type { CsiDriver, CsiDrivers } from './drivers.ts';
import { createKeyedLock } from './keyed-lock.ts';
import {
  agentSetsGroup,
  attachmentName,
  type CsiVolume,
  podAttributes,
  type SecretName,
  volumeCapability,
  volumeStats,
  whyNotSupported,
} from './requests.ts';
import { listVolumeData, readVolumeData, removeVolumeData, type VolumeData, writeVolumeData } from './volume-data.ts';

/** What is asked of the API server. */
export interface CsiApi {
  driver(name: string): Promise<CSIDriver | undefined>;
  attachment(name: string): Promise<VolumeAttachment | undefined>;
  /** Decoded; throws when it does not exist. */
  secret(name: SecretName): Promise<Record<string, string>>;
  /** JSON by audience, as drivers expect it. */
  tokens(pod: Pod, requests: NonNullable<CSIDriver['spec']['tokenRequests']>): Promise<string>;
}

export interface CsiVolumesOptions {
  nodeName: string;
  /** `<root dir>/pods` */
  podsDirectory: string;
  /** `<root dir>/plugins/kubernetes.io/csi`: a directory for each volume that is staged. */
  stagingDirectory: string;
}

export interface CsiVolumesDependencies {
  drivers: Pick<CsiDrivers, 'get'>;
  api: CsiApi;
  clock: Clock;
  log: Logger;
}

const PLUGIN = 'kubernetes.io/csi';
const TOKENS = 'csi.storage.k8s.io/serviceAccount.tokens';
const CALL_TIMEOUT_MS = 120_000;
/** Somebody waits for the metrics. */
const STATS_TIMEOUT_MS = 5_000;

/**
 * Volumes that drivers mount for pods: staged once on the node, published once for each pod. A file beside the mount,
 * written before the driver is asked, says what is to be undone, and everything that is asked for is asked for again
 * after a restart (drivers must take that), so that a kill at any moment leaves nothing that no later life takes down.
 */
export function createCsiVolumes(options: CsiVolumesOptions, dependencies: CsiVolumesDependencies) {
  const { nodeName, podsDirectory, stagingDirectory } = options;
  const { drivers, api, clock, log } = dependencies;
  /** Staging and the decision that nobody needs it any more must not overlap. */
  const lock = createKeyedLock();
  /** By the volume's directory: published in this life. */
  const published = new Map<string, MountedVolume>();
  /** Unique names of attached volumes, by the volume's directory: node.status.volumesInUse. */
  const inUse = new Map<string, string>();

  const uniqueName = ({ driverName, volumeHandle }: VolumeData) => `kubernetes.io/csi/${driverName}^${volumeHandle}`;
  const stagingOf = (driver: string, handle: string) =>
    join(stagingDirectory, driver, createHash('sha256').update(handle).digest('hex'));

  async function setUp(pod: Pod, volume: CsiVolume, directory: string, signal?: AbortSignal): Promise<MountedVolume> {
    const object = await api.driver(volume.driver);
    const known = published.get(directory);
    if (known && !object?.spec.requiresRepublish) return known;
    return lock(`${volume.driver}^${volume.handle}`, async () => {
      try {
        return await publish(pod, volume, directory, object, signal);
      } catch (error) {
        if (!known) throw error;
        // The pod runs on what it has: only its refresh is late.
        log.warn(
          { pod: `${pod.metadata.namespace}/${pod.metadata.name}`, volume: volume.name, err: error },
          'a CSI volume could not be published again',
        );
        return known;
      }
    });
  }

  async function publish(
    pod: Pod,
    volume: CsiVolume,
    directory: string,
    object: CSIDriver | undefined,
    signal?: AbortSignal,
  ): Promise<MountedVolume> {
    const driver = drivers.get(volume.driver);
    const why = whyNotSupported(volume, object);
    if (why) throw new Error(why);
    const isAttached = volume.mode === 'Persistent' && object?.spec.attachRequired !== false;
    const data: VolumeData = {
      specVolID: volume.name,
      volumeHandle: volume.handle,
      driverName: volume.driver,
      nodeName,
      attachmentID: isAttached ? attachmentName(volume, nodeName) : '',
      volumeLifecycleMode: volume.mode,
    };
    await mkdir(directory, { recursive: true, mode: 0o750 });
    await writeVolumeData(directory, data);
    if (isAttached) inUse.set(directory, uniqueName(data));
    const publishContext = isAttached ? await attachedContext(data.attachmentID, { api, clock }, signal) : {};
    const { fsGroup } = pod.spec.securityContext ?? {};
    const mountGroup = driver.has('VOLUME_MOUNT_GROUP') ? fsGroup : undefined;
    const capability = volumeCapability(volume, (one) => driver.has(one), mountGroup);
    const call = { timeoutMs: CALL_TIMEOUT_MS, ...(signal && { signal }) };
    const stagingTargetPath = isStaged(volume, driver)
      ? join(stagingOf(volume.driver, volume.handle), 'globalmount')
      : '';
    if (stagingTargetPath) {
      await mkdir(stagingTargetPath, { recursive: true, mode: 0o750 });
      await writeVolumeData(dirname(stagingTargetPath), { driverName: volume.driver, volumeHandle: volume.handle });
      await driver.client.call(
        csiNode.stageVolume,
        {
          volumeId: volume.handle,
          publishContext,
          stagingTargetPath,
          volumeCapability: capability,
          secrets: volume.stageSecret ? await api.secret(volume.stageSecret) : {},
          volumeContext: volume.attributes,
        },
        call,
      );
    }
    const targetPath = join(directory, 'mount');
    const secrets = volume.publishSecret ? await api.secret(volume.publishSecret) : {};
    const tokens: Record<string, string> = object?.spec.tokenRequests?.length
      ? { [TOKENS]: await api.tokens(pod, object.spec.tokenRequests) }
      : {};
    const inSecrets = object?.spec.serviceAccountTokenInSecrets ?? false;
    await driver.client.call(
      csiNode.publishVolume,
      {
        volumeId: volume.handle,
        publishContext,
        stagingTargetPath,
        targetPath,
        volumeCapability: capability,
        readonly: volume.readOnly,
        secrets: inSecrets ? { ...secrets, ...tokens } : secrets,
        volumeContext: {
          ...volume.attributes,
          ...(object?.spec.podInfoOnMount && podAttributes(pod, volume.mode)),
          ...(inSecrets ? {} : tokens),
        },
      },
      call,
    );
    const mounted: MountedVolume = {
      hostPath: targetPath,
      readOnly: volume.readOnly,
      agentOwned: false,
      // A driver that was given the group has seen to it itself.
      takesFsGroup: mountGroup === undefined && !volume.readOnly && agentSetsGroup(volume, object),
      ...(object?.spec.requiresRepublish && { refreshes: true }),
    };
    published.set(directory, mounted);
    return mounted;
  }

  const isStaged = (volume: Pick<CsiVolume, 'mode'>, driver: CsiDriver) =>
    volume.mode === 'Persistent' && driver.has('STAGE_UNSTAGE_VOLUME');

  async function tearDown({ path, name }: VolumeDirectory): Promise<void> {
    const data = await readVolumeData(path);
    // Nothing was asked of a driver before the file was there.
    if (!data) return;
    await lock(`${data.driverName}^${data.volumeHandle}`, async () => {
      const target = join(path, 'mount');
      const driver = drivers.get(data.driverName);
      await driver.client.call(
        csiNode.unpublishVolume,
        { volumeId: data.volumeHandle, targetPath: target },
        { timeoutMs: CALL_TIMEOUT_MS },
      );
      if (isMountPoint(target))
        throw new Error(`driver ${data.driverName} has unpublished ${name}, and yet ${target} is mounted`);
      await rmdir(target).catch(ignoreMissing);
      await unstageUnlessUsed(driver, data, path);
      await removeVolumeData(path);
      published.delete(path);
      inUse.delete(path);
    });
  }

  /** With the lock held: whoever publishes the volume next has its file on disk before it stages. */
  async function unstageUnlessUsed(
    driver: CsiDriver,
    { driverName, volumeHandle }: Pick<VolumeData, 'driverName' | 'volumeHandle'>,
    except?: string,
  ): Promise<void> {
    const staging = stagingOf(driverName, volumeHandle);
    if (!(await readVolumeData<object>(staging))) return;
    const users = await listVolumeData(podsDirectory);
    const isUsed = users.some(
      ({ directory, data }) =>
        directory !== except && data.driverName === driverName && data.volumeHandle === volumeHandle,
    );
    if (isUsed) return;
    const stagingTargetPath = join(staging, 'globalmount');
    await driver.client.call(
      csiNode.unstageVolume,
      { volumeId: volumeHandle, stagingTargetPath },
      { timeoutMs: CALL_TIMEOUT_MS },
    );
    if (isMountPoint(stagingTargetPath))
      throw new Error(`driver ${driverName} has unstaged ${volumeHandle}, and yet ${stagingTargetPath} is mounted`);
    await rmdir(stagingTargetPath).catch(ignoreMissing);
    await removeVolumeData(staging);
    await rm(staging, { recursive: true });
  }

  /** How full the driver says that a volume is; undefined when it does not tell. */
  async function stats(volume: CsiVolume, volumePath: string): Promise<VolumeStats | undefined> {
    const driver = drivers.get(volume.driver);
    if (!driver.has('GET_VOLUME_STATS')) return undefined;
    const stagingTargetPath = isStaged(volume, driver)
      ? join(stagingOf(volume.driver, volume.handle), 'globalmount')
      : '';
    const answer = await driver.client.call(
      csiNode.getVolumeStats,
      { volumeId: volume.handle, volumePath, stagingTargetPath },
      { timeoutMs: STATS_TIMEOUT_MS },
    );
    return volumeStats(answer);
  }

  return {
    plugin: PLUGIN,
    setUp,
    tearDown,
    stats,

    /** Unstages what an earlier life has left staged for no pod. For when the driver has registered. */
    async collect(driver: CsiDriver): Promise<void> {
      const root = join(stagingDirectory, driver.name);
      for (const entry of await readdir(root).catch(() => [])) {
        const data = await readVolumeData<{ driverName: string; volumeHandle: string }>(join(root, basename(entry)));
        if (data) await lock(`${data.driverName}^${data.volumeHandle}`, () => unstageUnlessUsed(driver, data));
      }
    },

    /** What an earlier life has attached and not given back is in use. */
    async restore(): Promise<void> {
      for (const { directory, data } of await listVolumeData(podsDirectory))
        if (data.attachmentID) inUse.set(directory, uniqueName(data));
    },

    /** For node.status.volumesInUse: what must not be detached; sorted. */
    volumesInUse: (): string[] => [...new Set(inUse.values())].sort(),
  };
}

function ignoreMissing(error: unknown): void {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
}

export type CsiVolumes = ReturnType<typeof createCsiVolumes>;

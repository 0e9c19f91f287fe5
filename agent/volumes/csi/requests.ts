import { createHash } from 'node:crypto';
import {
  ACCESS_MODE,
  type NODE_CAPABILITY,
  USAGE_UNIT,
  type VolumeCapability,
  type VolumeStatsAnswer,
} from '../../../src/grpc/csi.ts';
import type { CSIDriver, PersistentVolume, Pod, Volume } from '../../../src/kube/types.ts';
import type { VolumeStats } from '../persistent/volume-stats.ts';

/** A CSI volume as one pod wants it, whether it stands in a PersistentVolume or in the pod itself. */
export interface CsiVolume {
  driver: string;
  /** The driver's own name for it. */
  handle: string;
  /** Of its directory: the PersistentVolume's, else the pod's volume's. */
  name: string;
  mode: 'Persistent' | 'Ephemeral';
  fsType: string;
  readOnly: boolean;
  attributes: Record<string, string>;
  accessModes: readonly string[];
  mountOptions: readonly string[];
  stageSecret?: SecretName;
  publishSecret?: SecretName;
}

export interface SecretName {
  namespace: string;
  name: string;
}

type Has = (capability: keyof typeof NODE_CAPABILITY) => boolean;

/** The volume behind a claim. `readOnly` is what the pod says of the claim. */
export function persistentCsiVolume(volume: PersistentVolume, readOnly: boolean): CsiVolume {
  const csi = volume.spec.csi!;
  const secret = (reference: { name?: string; namespace?: string } | undefined): SecretName | undefined =>
    reference?.name && reference.namespace ? { namespace: reference.namespace, name: reference.name } : undefined;
  const stageSecret = secret(csi.nodeStageSecretRef);
  const publishSecret = secret(csi.nodePublishSecretRef);
  return {
    driver: csi.driver,
    handle: csi.volumeHandle,
    name: volume.metadata.name,
    mode: 'Persistent',
    fsType: csi.fsType ?? '',
    readOnly,
    attributes: csi.volumeAttributes ?? {},
    accessModes: volume.spec.accessModes ?? [],
    mountOptions: volume.spec.mountOptions ?? [],
    ...(stageSecret && { stageSecret }),
    ...(publishSecret && { publishSecret }),
  };
}

/** A volume that exists for this pod only; its handle is made of both. */
export function inlineCsiVolume(pod: Pod, volume: Volume): CsiVolume {
  const { driver, fsType = '', readOnly = false, volumeAttributes = {}, nodePublishSecretRef } = volume.csi!;
  const handle = `csi-${createHash('sha256').update(`${pod.metadata.uid}${volume.name}`).digest('hex')}`;
  return {
    driver,
    handle,
    name: volume.name,
    mode: 'Ephemeral',
    fsType,
    readOnly,
    attributes: volumeAttributes,
    accessModes: ['ReadWriteOnce'],
    mountOptions: [],
    ...(nodePublishSecretRef?.name && {
      publishSecret: { namespace: pod.metadata.namespace!, name: nodePublishSecretRef.name },
    }),
  };
}

/** Name of the VolumeAttachment that says that the volume is attached to the node; the attach/detach controller's. */
export function attachmentName({ handle, driver }: Pick<CsiVolume, 'handle' | 'driver'>, nodeName: string): string {
  return `csi-${createHash('sha256').update(`${handle}${driver}${nodeName}`).digest('hex')}`;
}

/** How the volume is mounted. `mountGroup` goes to drivers that set the group themselves. */
export function volumeCapability(volume: CsiVolume, has: Has, mountGroup: number | undefined): VolumeCapability {
  return {
    block: undefined,
    mount: {
      fsType: volume.fsType,
      mountFlags: [...volume.mountOptions],
      volumeMountGroup: mountGroup === undefined ? '' : String(mountGroup),
    },
    accessMode: { mode: accessMode(volume.accessModes[0] ?? 'ReadWriteOnce', has) },
  };
}

function accessMode(mode: string, has: Has): number {
  const knowsPods = has('SINGLE_NODE_MULTI_WRITER');
  switch (mode) {
    case 'ReadWriteOnce':
      return knowsPods ? ACCESS_MODE.SINGLE_NODE_MULTI_WRITER : ACCESS_MODE.SINGLE_NODE_WRITER;
    case 'ReadWriteOncePod':
      return knowsPods ? ACCESS_MODE.SINGLE_NODE_SINGLE_WRITER : ACCESS_MODE.SINGLE_NODE_WRITER;
    case 'ReadOnlyMany':
      return ACCESS_MODE.MULTI_NODE_READER_ONLY;
    default:
      return ACCESS_MODE.MULTI_NODE_MULTI_WRITER;
  }
}

/** What a driver that asks for it (podInfoOnMount) is told of the pod, beside the volume's own attributes. */
export function podAttributes(pod: Pod, mode: CsiVolume['mode']): Record<string, string> {
  return {
    'csi.storage.k8s.io/pod.name': pod.metadata.name,
    'csi.storage.k8s.io/pod.namespace': pod.metadata.namespace ?? '',
    'csi.storage.k8s.io/pod.uid': pod.metadata.uid,
    'csi.storage.k8s.io/serviceAccount.name': pod.spec.serviceAccountName ?? '',
    'csi.storage.k8s.io/ephemeral': String(mode === 'Ephemeral'),
  };
}

/**
 * Whether the agent gives the volume's files to the pod's fsGroup (upstream's supportsFSGroup): what the driver's object
 * says, and by default only for a file system of its own that one node writes.
 */
export function agentSetsGroup(volume: CsiVolume, driver: CSIDriver | undefined): boolean {
  switch (driver?.spec.fsGroupPolicy ?? 'ReadWriteOnceWithFSType') {
    case 'None':
      return false;
    case 'File':
      return true;
    default:
      return volume.fsType !== '' && (volume.mode === 'Ephemeral' || volume.accessModes.includes('ReadWriteOnce'));
  }
}

/** Why this kind of use is not the driver's; undefined: it is. */
export function whyNotSupported(volume: CsiVolume, driver: CSIDriver | undefined): string | undefined {
  // Without an object a driver is taken for an old one, which has persistent volumes only.
  const modes = driver?.spec.volumeLifecycleModes ?? ['Persistent'];
  if (modes.includes(volume.mode)) return undefined;
  return driver
    ? `volume mode ${JSON.stringify(volume.mode)} not supported by driver ${volume.driver} (only supports [${modes.map((mode) => JSON.stringify(mode)).join(', ')}])`
    : `volume mode ${JSON.stringify(volume.mode)} not supported by driver ${volume.driver} (no CSIDriver object)`;
}

/** What a driver answers about a volume, in the agent's terms. */
export function volumeStats({ usage, volumeCondition }: VolumeStatsAnswer): VolumeStats {
  const bytes = usage.find(({ unit }) => unit === USAGE_UNIT.BYTES);
  const inodes = usage.find(({ unit }) => unit === USAGE_UNIT.INODES);
  return {
    ...(bytes && { capacityBytes: bytes.total, availableBytes: bytes.available, usedBytes: bytes.used }),
    ...(inodes && { inodes: inodes.total, inodesFree: inodes.available, inodesUsed: inodes.used }),
    ...(volumeCondition && { isAbnormal: volumeCondition.abnormal }),
  };
}

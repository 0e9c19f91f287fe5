import type { EmptyDirVolumeSource } from '../../../src/kube/types.ts';
import { elsewhere, refused, type StructSupport, supported, whole } from './entry.ts';

const CLAIM = elsewhere('the API server and the volume controllers: the claim made for the pod');
const CLOUD = refused('upstream hands it to a CSI driver of the cloud; use a claim of that driver');
const REMOVED = refused('removed from Kubernetes; use a CSI driver');
const NOT_HERE = refused('its tools are not part of this node; use a CSI driver');

const isLimitedDisk = (source: unknown) => {
  const { medium, sizeLimit } = source as EmptyDirVolumeSource;
  return sizeLimit !== undefined && !medium;
};

const asVolume = whole(refused('as the volume type'));

/** Volumes and all their sources. */
export const VOLUME_SUPPORT: Record<string, StructSupport> = {
  Volume: {
    name: supported(),
    hostPath: supported(),
    emptyDir: {
      kind: 'no effect',
      why: 'nothing evicts for it yet',
      when: isLimitedDisk,
      values: '`sizeLimit` on disk',
    },
    configMap: supported(),
    secret: supported(),
    downwardAPI: supported(),
    projected: supported(),
    image: supported(),
    persistentVolumeClaim: supported(),
    ephemeral: supported(),
    csi: supported(),
    nfs: supported(),
    gcePersistentDisk: CLOUD,
    awsElasticBlockStore: CLOUD,
    azureDisk: CLOUD,
    azureFile: CLOUD,
    cinder: CLOUD,
    vsphereVolume: CLOUD,
    portworxVolume: CLOUD,
    gitRepo: refused(
      'upstream has it off: it runs what a repository says as root (CVE-2024-10220); clone in an init container',
    ),
    glusterfs: REMOVED,
    rbd: REMOVED,
    cephfs: REMOVED,
    flocker: REMOVED,
    quobyte: REMOVED,
    photonPersistentDisk: REMOVED,
    scaleIO: REMOVED,
    storageos: REMOVED,
    iscsi: NOT_HERE,
    fc: NOT_HERE,
    flexVolume: NOT_HERE,
  },
  HostPathVolumeSource: { path: supported(), type: supported() },
  EmptyDirVolumeSource: {
    medium: supported(),
    sizeLimit: supported('of `medium: Memory`: the size of the tmpfs; of disk: as said at Volume'),
  },
  SecretVolumeSource: { secretName: supported(), items: supported(), defaultMode: supported(), optional: supported() },
  ConfigMapVolumeSource: { name: supported(), items: supported(), defaultMode: supported(), optional: supported() },
  KeyToPath: { key: supported(), path: supported(), mode: supported() },
  DownwardAPIVolumeSource: { items: supported(), defaultMode: supported() },
  DownwardAPIVolumeFile: {
    path: supported(),
    fieldRef: supported(),
    resourceFieldRef: supported(),
    mode: supported(),
  },
  ProjectedVolumeSource: { sources: supported('the later wins where paths meet'), defaultMode: supported() },
  VolumeProjection: {
    secret: supported(),
    downwardAPI: supported(),
    configMap: supported(),
    serviceAccountToken: supported(),
    clusterTrustBundle: refused('not yet'),
    podCertificate: refused('no signer answers PodCertificateRequests here'),
  },
  SecretProjection: { name: supported(), items: supported(), optional: supported() },
  ConfigMapProjection: { name: supported(), items: supported(), optional: supported() },
  DownwardAPIProjection: { items: supported() },
  ServiceAccountTokenProjection: { audience: supported(), expirationSeconds: supported(), path: supported() },
  ClusterTrustBundleProjection: {
    name: supported(),
    signerName: supported(),
    labelSelector: supported(),
    optional: supported(),
    path: supported(),
  },
  PodCertificateProjection: asVolume,
  ImageVolumeSource: { reference: supported(), pullPolicy: supported() },
  PersistentVolumeClaimVolumeSource: { claimName: supported(), readOnly: supported() },
  EphemeralVolumeSource: { volumeClaimTemplate: CLAIM },
  PersistentVolumeClaimTemplate: { metadata: CLAIM, spec: CLAIM },
  PersistentVolumeClaimSpec: whole(CLAIM),
  VolumeResourceRequirements: whole(CLAIM),
  TypedLocalObjectReference: whole(CLAIM),
  TypedObjectReference: whole(CLAIM),
  CSIVolumeSource: {
    driver: supported(),
    readOnly: supported(),
    fsType: supported(),
    volumeAttributes: supported(),
    nodePublishSecretRef: supported(),
  },
  NFSVolumeSource: { server: supported(), path: supported(), readOnly: supported() },
  GCEPersistentDiskVolumeSource: asVolume,
  AWSElasticBlockStoreVolumeSource: asVolume,
  AzureDiskVolumeSource: asVolume,
  AzureFileVolumeSource: asVolume,
  CinderVolumeSource: asVolume,
  VsphereVirtualDiskVolumeSource: asVolume,
  PortworxVolumeSource: asVolume,
  GitRepoVolumeSource: asVolume,
  GlusterfsVolumeSource: asVolume,
  RBDVolumeSource: asVolume,
  CephFSVolumeSource: asVolume,
  FlockerVolumeSource: asVolume,
  QuobyteVolumeSource: asVolume,
  PhotonPersistentDiskVolumeSource: asVolume,
  ScaleIOVolumeSource: asVolume,
  StorageOSVolumeSource: asVolume,
  ISCSIVolumeSource: asVolume,
  FCVolumeSource: asVolume,
  FlexVolumeSource: asVolume,
};

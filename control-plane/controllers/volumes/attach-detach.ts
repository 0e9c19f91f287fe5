import { createHash } from 'node:crypto';
import { isAlreadyExists, isNotFound } from '../../../src/kube/errors.ts';
import {
  volumeAttachments as attachmentResource,
  persistentVolumeClaims as claimResource,
  csiDrivers as driverResource,
  nodes as nodeResource,
  pods as podResource,
  persistentVolumes as volumeResource,
} from '../../../src/kube/resources.ts';
import type { CSIDriver, PersistentVolume, PersistentVolumeClaim, Pod } from '../../../src/kube/types.ts';
import { referencesOf } from '../../authorization/pod-references.ts';
import { type Controller, type ControllerDependencies, createReconciler } from '../controller.ts';
import { isPodTerminal } from '../pod-state.ts';

/** A volume that a node needs attached by its driver's external attacher. */
export interface WantedAttachment {
  /** `csi-<sha256 of handle, driver and node>`: node agents look for exactly this. */
  readonly name: string;
  readonly driver: string;
  readonly nodeName: string;
  readonly volumeName: string;
}

export interface AttachmentView {
  claim(namespace: string, name: string): PersistentVolumeClaim | undefined;
  volume(name: string): PersistentVolume | undefined;
  driver(name: string): CSIDriver | undefined;
}

/** What must be attached for the pods that have a node, by name of the VolumeAttachment. Pure. */
export function computeAttachments(pods: readonly Pod[], view: AttachmentView): Map<string, WantedAttachment> {
  const wanted = new Map<string, WantedAttachment>();
  for (const pod of pods) {
    const { nodeName } = pod.spec;
    if (!nodeName || isPodTerminal(pod)) continue;
    for (const claimName of referencesOf(pod).persistentVolumeClaims) {
      const claim = view.claim(pod.metadata.namespace!, claimName);
      if (claim?.status?.phase !== 'Bound' || !claim.spec.volumeName) continue;
      const volume = view.volume(claim.spec.volumeName);
      const csi = volume?.spec.csi;
      // A driver that says nothing of itself is taken for one that attaches.
      if (!volume || !csi || view.driver(csi.driver)?.spec.attachRequired === false) continue;
      const name = attachmentName(csi.volumeHandle, csi.driver, nodeName);
      wanted.set(name, { name, driver: csi.driver, nodeName, volumeName: volume.metadata.name });
    }
  }
  return wanted;
}

export function attachmentName(volumeHandle: string, driver: string, nodeName: string): string {
  return `csi-${createHash('sha256').update(`${volumeHandle}${driver}${nodeName}`).digest('hex')}`;
}

const ROUND = 'all';

/** Asks drivers, by VolumeAttachment objects, to attach what pods need to their nodes, and to detach what no pod needs there any more. */
export function createAttachDetachController(dependencies: ControllerDependencies): Controller {
  const { client, informers } = dependencies;
  const pods = informers.informer(podResource);
  const claims = informers.informer(claimResource);
  const volumes = informers.informer(volumeResource);
  const drivers = informers.informer(driverResource);
  const nodes = informers.informer(nodeResource);
  const attachments = informers.informer(attachmentResource);
  const controller = createReconciler(
    {
      name: 'attachdetach-controller',
      inputs: [pods, claims, volumes, drivers, nodes, attachments],
      concurrency: 1,
      reconcile,
    },
    dependencies,
  );
  const look = () => controller.queue.add(ROUND);
  const podChanged = (pod: Pod) => {
    if (referencesOf(pod).persistentVolumeClaims.size > 0) look();
  };
  pods.subscribe({ added: podChanged, updated: (_, pod) => podChanged(pod), deleted: podChanged });
  for (const informer of [claims, volumes, drivers, attachments])
    informer.subscribe({ added: look, updated: look, deleted: look });
  nodes.subscribe({
    updated(old, node) {
      if (old.status?.volumesInUse?.length !== node.status?.volumesInUse?.length) look();
    },
    deleted: look,
  });

  async function reconcile(): Promise<void> {
    const wanted = computeAttachments(pods.list(), {
      claim: (namespace, name) => claims.get(`${namespace}/${name}`),
      volume: volumes.get,
      driver: drivers.get,
    });
    for (const attachment of wanted.values()) if (!attachments.get(attachment.name)) await attach(attachment);
    for (const { metadata, spec } of attachments.list())
      if (!wanted.has(metadata.name) && !metadata.deletionTimestamp && !isInUse(spec))
        await client.delete(attachmentResource, { name: metadata.name, uid: metadata.uid }).catch((error) => {
          if (!isNotFound(error)) throw error;
        });
  }

  async function attach({ name, driver, nodeName, volumeName }: WantedAttachment): Promise<void> {
    const spec = { attacher: driver, nodeName, source: { persistentVolumeName: volumeName } };
    await client.create(attachmentResource, { metadata: { name }, spec }).catch((error) => {
      if (!isAlreadyExists(error)) throw error;
    });
  }

  /** Mounted still, as its node says: detaching would tear data away under it. A node that is gone mounts nothing. */
  function isInUse({
    attacher,
    nodeName,
    source,
  }: {
    attacher: string;
    nodeName: string;
    source: { persistentVolumeName?: string };
  }) {
    const handle = volumes.get(source.persistentVolumeName ?? '')?.spec.csi?.volumeHandle;
    return nodes.get(nodeName)?.status?.volumesInUse?.includes(`kubernetes.io/csi/${attacher}^${handle}`) ?? false;
  }

  return controller;
}

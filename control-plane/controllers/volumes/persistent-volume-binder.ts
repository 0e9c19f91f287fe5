import { isNotFound } from '../../../src/kube/errors.ts';
import {
  persistentVolumeClaims as claimResource,
  storageClasses as classResource,
  objectKey,
  pods as podResource,
  persistentVolumes as volumeResource,
} from '../../../src/kube/resources.ts';
import type { PersistentVolume, PersistentVolumeClaim, Pod } from '../../../src/kube/types.ts';
import { referencesOf } from '../../authorization/pod-references.ts';
import { storageClassOf } from '../../resources/storage/storage-class-name.ts';
import { BIND_COMPLETED } from '../../volumes/annotations.ts';
import { type Controller, type ControllerDependencies, createReconciler } from '../controller.ts';
import { type BindingPlan, type BindingWrite, hasAnnotation } from './binding-plan.ts';
import { planClaim } from './claim-plan.ts';
import { failed, planVolume } from './volume-plan.ts';

export interface VolumeBinderOptions {
  /** Removes the data of a hostPath volume with the reclaim policy Delete. */
  deleteHostPath(path: string): Promise<void>;
}

const CLAIM = 'claim|';
const VOLUME = 'volume|';
/** Upstream looks at everything again after so long, and says again what has not changed. */
const REPEAT_MS = 15_000;

/** Makes claims and volumes one, tells their phases, and does what the reclaim policy says when a claim is gone. */
export function createVolumeBinder(options: VolumeBinderOptions, dependencies: ControllerDependencies): Controller {
  const { client, informers, events, log, clock } = dependencies;
  /** By UID: the reason that was given last. */
  const told = new Map<string, { message: string; atMs: number }>();
  const claims = informers.informer(claimResource);
  const volumes = informers.informer(volumeResource);
  const classes = informers.informer(classResource);
  const pods = informers.informer(podResource);
  const referring = volumes.index(({ spec }) => [spec.claimRef && `${spec.claimRef.namespace}/${spec.claimRef.name}`]);
  const podsOf = pods.index((pod) =>
    [...referencesOf(pod).persistentVolumeClaims].map((name) => `${pod.metadata.namespace}/${name}`),
  );
  // One decision at a time: two claims must not be promised the same volume.
  const controller = createReconciler(
    { name: 'persistentvolume-binder', inputs: [claims, volumes, classes, pods], concurrency: 1, reconcile },
    dependencies,
  );
  const { queue } = controller;

  const claimChanged = (claim: PersistentVolumeClaim) => {
    queue.add(CLAIM + objectKey(claim));
    for (const volume of referring(objectKey(claim))) queue.add(VOLUME + volume.metadata.name);
    if (claim.spec.volumeName) queue.add(VOLUME + claim.spec.volumeName);
  };
  const wakeClaims = (isConcerned: (claim: PersistentVolumeClaim) => boolean) => {
    for (const claim of claims.list()) if (isConcerned(claim)) queue.add(CLAIM + objectKey(claim));
  };
  const volumeChanged = (volume: PersistentVolume) => {
    const { metadata, spec } = volume;
    queue.add(VOLUME + metadata.name);
    const { claimRef } = spec;
    if (claimRef) queue.add(`${CLAIM}${claimRef.namespace}/${claimRef.name}`);
    const className = storageClassOf(volume);
    wakeClaims((claim) => {
      if (claim.spec.volumeName) return claim.spec.volumeName === metadata.name;
      return !claimRef && storageClassOf(claim) === className && !hasAnnotation(claim, BIND_COMPLETED);
    });
  };
  claims.subscribe({
    added: claimChanged,
    updated: (_, claim) => claimChanged(claim),
    deleted(claim) {
      told.delete(claim.metadata.uid);
      claimChanged(claim);
    },
  });
  volumes.subscribe({
    added: volumeChanged,
    updated: (_, volume) => volumeChanged(volume),
    deleted(volume) {
      told.delete(volume.metadata.uid);
      volumeChanged(volume);
    },
  });
  const classChanged = () => wakeClaims((claim) => !hasAnnotation(claim, BIND_COMPLETED));
  classes.subscribe({ added: classChanged, updated: classChanged });

  async function reconcile(key: string, signal: AbortSignal): Promise<void> {
    if (key.startsWith(CLAIM)) await reconcileClaim(key.slice(CLAIM.length), signal);
    else await reconcileVolume(key.slice(VOLUME.length), signal);
  }

  async function reconcileClaim(key: string, signal: AbortSignal): Promise<void> {
    let claim = claims.get(key);
    /** What this pass has written and the informer may not show yet. */
    const written = new Map<string, PersistentVolume>();
    while (claim && !signal.aborted) {
      const view = {
        volumes: volumes.list().map((volume) => written.get(volume.metadata.name) ?? volume),
        classes: classes.list(),
        waitingPods: podsOf(key)
          .filter(isWaiting)
          .map(({ metadata }) => metadata.name),
      };
      const plan = planClaim(claim, view);
      tell(claim, plan);
      if (!plan.write) return;
      const answer = await carryOut(plan.write);
      if (plan.write.to === 'claim' || plan.write.to === 'claimStatus') claim = answer as PersistentVolumeClaim;
      else written.set(answer.metadata.name, answer as PersistentVolume);
    }
  }

  async function reconcileVolume(name: string, signal: AbortSignal): Promise<void> {
    let volume = volumes.get(name);
    if (!volume) return;
    const claim = await claimOf(volume);
    while (volume && !signal.aborted) {
      const plan = planVolume(volume, claim);
      tell(volume, plan);
      if (plan.deleteHostPath !== undefined) return remove(volume, plan.deleteHostPath);
      if (!plan.write) return;
      volume = (await carryOut(plan.write)) as PersistentVolume;
    }
  }

  /** The claim that a volume refers to; asked for live before it counts as gone, since its volume may then be deleted. */
  async function claimOf({ spec }: PersistentVolume): Promise<PersistentVolumeClaim | undefined> {
    const { namespace, name, uid } = spec.claimRef ?? {};
    if (!namespace || !name || !uid) return undefined;
    const known = claims.get(`${namespace}/${name}`);
    if (known?.metadata.uid === uid) return known;
    try {
      return await client.get(claimResource, { namespace, name });
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  async function remove(volume: PersistentVolume, path: string): Promise<void> {
    try {
      await options.deleteHostPath(path);
    } catch (error) {
      const plan = failed(volume, 'VolumeFailedDelete', error instanceof Error ? error.message : String(error));
      tell(volume, plan);
      if (plan.write) await carryOut(plan.write);
      return;
    }
    const { name, uid } = volume.metadata;
    log.info({ volume: name, path }, 'deleted a released volume and its data');
    await client.delete(volumeResource, { name, uid }).catch((error) => {
      if (!isNotFound(error)) throw error;
    });
  }

  /** Whatever happens to volumes wakes all claims that wait: each is told its reason now and then, not every time. */
  function tell(object: PersistentVolume | PersistentVolumeClaim, { note }: BindingPlan): void {
    const { uid } = object.metadata;
    const last = told.get(uid);
    if (!note) {
      told.delete(uid);
      return;
    }
    const now = clock.monotonicMs();
    if (last?.message === note.message && now - last.atMs < REPEAT_MS) return;
    told.set(uid, { message: note.message, atMs: now });
    events.event(object, note.type, note.reason, note.message);
  }

  async function carryOut(write: BindingWrite): Promise<PersistentVolume | PersistentVolumeClaim> {
    switch (write.to) {
      case 'volume':
        return client.replace(volumeResource, write.object);
      case 'volumeStatus':
        return client.replace(volumeResource, write.object, { subresource: 'status' });
      case 'claim':
        return client.replace(claimResource, write.object);
      case 'claimStatus':
        return client.replace(claimResource, write.object, { subresource: 'status' });
    }
  }

  return controller;
}

const isWaiting = ({ spec, metadata }: Pod) => !spec.nodeName && !metadata.deletionTimestamp;

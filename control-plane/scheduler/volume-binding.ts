import type { KubeClient } from '../../src/kube/client.ts';
import type { InformerSet } from '../../src/kube/informer.ts';
import {
  persistentVolumeClaims as claimResource,
  storageClasses as classResource,
  csiNodes as csiNodeResource,
  objectKey,
  persistentVolumes as volumeResource,
} from '../../src/kube/resources.ts';
import type { KubeObject, PersistentVolume, Pod } from '../../src/kube/types.ts';
import { withReference } from '../controllers/volumes/binding-plan.ts';
import { SELECTED_NODE } from '../volumes/annotations.ts';
import type { NodeInfo } from './node-info.ts';
import {
  claimNamesOf,
  decideVolumes,
  isBound,
  type StorageView,
  sortClaims,
  type VolumeDecision,
} from './pod-volumes.ts';

/** How long a pod's binding waits for its volumes (upstream's bindTimeoutSeconds). */
const BIND_TIMEOUT_MS = 600_000;

export interface VolumeBinding {
  readonly inputs: readonly { synced(signal?: AbortSignal): Promise<void> }[];
  /** What of the cluster the filter looks at. */
  readonly storage: StorageView;
  /** Chooses volumes for a pod on its node and keeps them from other pods until `release`. undefined: nothing to choose. */
  assume(pod: Pod, info: NodeInfo): VolumeDecision | undefined;
  /** The choice is carried out, or the pod is gone. */
  release(uid: string): void;
  /** Writes the choice down and waits until all claims are bound. Throws when that takes too long or cannot be. */
  bind(pod: Pod, nodeName: string, decision: VolumeDecision, signal: AbortSignal): Promise<void>;
  /** Told whenever storage changed so that pods which fitted nowhere may fit. */
  onChange(handler: (isConcerned: (pod: Pod) => boolean) => void): void;
}

export function createVolumeBinding({
  client,
  informers,
}: {
  client: KubeClient;
  informers: InformerSet;
}): VolumeBinding {
  const claims = informers.informer(claimResource);
  const volumes = informers.informer(volumeResource);
  const classes = informers.informer(classResource);
  const csiNodes = informers.informer(csiNodeResource);
  /** Volumes as they will be, by the UID of the pod whose binding is under way. */
  const promises = new Map<string, readonly PersistentVolume[]>();
  const waiting = new Set<() => void>();
  const storage: StorageView = {
    claim: (namespace, name) => claims.get(`${namespace}/${name}`),
    volume: volumes.get,
    volumes() {
      const promised = new Map([...promises.values()].flat().map((volume) => [volume.metadata.name, volume]));
      return volumes
        .list()
        .map((volume) => (volume.spec.claimRef ? volume : (promised.get(volume.metadata.name) ?? volume)));
    },
    storageClass: classes.get,
    csiNode: csiNodes.get,
  };
  const lookAgain = () => {
    for (const look of [...waiting]) look();
  };
  claims.subscribe({ updated: lookAgain, deleted: lookAgain });

  /** Resolves when every claim of the pod is bound. */
  function allBound(pod: Pod, signal: AbortSignal): Promise<void> {
    const { namespace } = pod.metadata;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const look = () => {
      if (!promises.has(pod.metadata.uid)) return reject(new Error('the pod was deleted while its volumes were bound'));
      for (const { name } of claimNamesOf(pod)) {
        const claim = storage.claim(namespace!, name);
        if (!claim) return reject(new Error(`pvc ${namespace}/${name} was deleted while the pod was bound`));
        if (!isBound(claim)) return;
      }
      resolve();
    };
    const stop = () => reject(signal.reason);
    waiting.add(look);
    signal.addEventListener('abort', stop, { once: true });
    look();
    return promise.finally(() => {
      waiting.delete(look);
      signal.removeEventListener('abort', stop);
    });
  }

  return {
    inputs: [claims, volumes, classes, csiNodes],
    storage,
    assume(pod, info) {
      if (claimNamesOf(pod).length === 0) return undefined;
      const sorted = sortClaims(pod, storage);
      const decision = sorted.refusal ?? decideVolumes(sorted, info.node, storage);
      if (typeof decision === 'string') throw new Error(decision);
      if (sorted.toBind.length === 0) return undefined;
      promises.set(
        pod.metadata.uid,
        decision.matches.map(({ claim, volume }) => withReference(volume, claim)),
      );
      return decision;
    },
    release(uid) {
      if (promises.delete(uid)) lookAgain();
    },
    async bind(pod, nodeName, { matches, provisions }, signal) {
      for (const { claim, volume } of matches) {
        const live = volumes.get(volume.metadata.name);
        if (!live) throw new Error(`pv ${volume.metadata.name} was deleted while the pod was bound`);
        if (live.spec.claimRef?.uid !== claim.metadata.uid)
          await client.replace(volumeResource, withReference(live, claim));
      }
      for (const claim of provisions) {
        if (claim.metadata.annotations?.[SELECTED_NODE] === nodeName) continue;
        const annotations = { ...claim.metadata.annotations, [SELECTED_NODE]: nodeName };
        await client.replace(claimResource, { ...claim, metadata: { ...claim.metadata, annotations } });
      }
      const patience = AbortSignal.timeout(BIND_TIMEOUT_MS);
      await allBound(pod, AbortSignal.any([signal, patience])).catch((error) => {
        throw patience.aborted ? new Error('binding volumes: timed out waiting for the condition') : error;
      });
    },
    onChange(handler) {
      const usesClaim = (key: string) => (pod: Pod) =>
        claimNamesOf(pod).some(({ name }) => `${pod.metadata.namespace}/${name}` === key);
      const usesAny = (pod: Pod) => claimNamesOf(pod).length > 0;
      const claimChanged = (claim: KubeObject) => handler(usesClaim(objectKey(claim)));
      claims.subscribe({ added: claimChanged, updated: (_, claim) => claimChanged(claim), deleted: claimChanged });
      const anyChanged = () => handler(usesAny);
      for (const informer of [volumes, classes, csiNodes])
        informer.subscribe({ added: anyChanged, updated: anyChanged, deleted: anyChanged });
    },
  };
}

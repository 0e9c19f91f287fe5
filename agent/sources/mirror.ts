import type { KubeClient } from '../../src/kube/client.ts';
import { isAlreadyExists, isNotFound } from '../../src/kube/errors.ts';
import type { Informer } from '../../src/kube/informer.ts';
import { nodes, pods } from '../../src/kube/resources.ts';
import type { Draft, Pod } from '../../src/kube/types.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import { createKeyedQueue } from '../../src/runtime/keyed-queue.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { podKey } from '../containers/identity.ts';
import { ANNOTATION, isMirrorPod } from '../pods/annotations.ts';
import type { MirrorPods } from '../pods/ports.ts';

export interface MirrorDependencies {
  client: Pick<KubeClient, 'get' | 'create' | 'delete'>;
  /** Pods of this node, mirrors among them. */
  informer: Informer<Pod>;
  nodeName: string;
  clock: Clock;
  log: Logger;
}

export interface MirrorPodKeeper extends MirrorPods {
  /** The static pods that there are now; one per name: while an earlier version ends, it is the one that is shown. */
  setStaticPods(staticPods: readonly Pod[]): void;
  /** Every source has spoken: mirrors of what none of them has are removed from now on. */
  collect(): void;
  /** Hears of each mirror that the API now shows, by its static pod's uid: a new one knows nothing of the pod's status yet. */
  onShown(handler: (staticUid: string) => void): () => void;
  run(signal: AbortSignal): Promise<void>;
}

/** What the API shows of a static pod: its spec under a uid of the API's own (sheet §2). */
export function buildMirrorPod(staticPod: Pod, nodeUid: string): Draft<Pod> {
  const { name, namespace, labels, annotations } = staticPod.metadata;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      namespace,
      ...(labels && { labels }),
      annotations: { ...annotations, [ANNOTATION.mirror]: annotations?.[ANNOTATION.hash] ?? staticPod.metadata.uid },
      ownerReferences: [
        { apiVersion: 'v1', kind: 'Node', name: staticPod.spec.nodeName!, uid: nodeUid, controller: true },
      ],
    },
    spec: staticPod.spec,
  };
}

/** Keeps one mirror pod per static pod: created when missing, replaced when it shows another version, deleted with it. */
export function createMirrorPodKeeper(deps: MirrorDependencies): MirrorPodKeeper {
  const { client, informer, log } = deps;
  let desired = new Map<string, Pod>();
  /** Before, a mirror without a pod may be one whose manifest has not been read yet. */
  let isComplete = false;
  const listeners = new Set<(staticUid: string) => void>();
  const queue = createKeyedQueue({
    concurrency: 4,
    clock: deps.clock,
    retry: { initialMs: 500, maxMs: 10_000, jitter: 0.5 },
    process: reconcile,
    onError: (pod, error, retryMs) => log.warn({ pod, retryMs, err: error }, 'mirror pod not up to date'),
  });

  function mirrorOf(key: string): Pod | undefined {
    const pod = informer.get(key);
    return pod && isMirrorPod(pod) ? pod : undefined;
  }

  async function reconcile(key: string): Promise<void> {
    const staticPod = desired.get(key);
    const mirror = mirrorOf(key);
    if (!staticPod && !isComplete) return;
    const wantedHash = staticPod?.metadata.annotations?.[ANNOTATION.hash];
    const isRight =
      mirror && !mirror.metadata.deletionTimestamp && mirror.metadata.annotations?.[ANNOTATION.mirror] === wantedHash;
    if (mirror && !isRight) {
      const { name, namespace, uid } = mirror.metadata;
      await client.delete(pods, { namespace, name, uid, gracePeriodSeconds: 0 }).catch((error) => {
        if (!isNotFound(error)) throw error;
      });
      // The informer's news of the deletion brings us back here.
      return;
    }
    if (!staticPod || mirror) return;
    // Asked each time: a Node that was deleted and made again has another uid, and NodeRestriction compares them.
    const node = await client.get(nodes, { name: deps.nodeName });
    await client
      .create(pods, buildMirrorPod(staticPod, node.metadata.uid), { namespace: staticPod.metadata.namespace })
      .catch((error) => {
        // Our own, not yet seen by the informer; or somebody's pod of that name, which only a person can resolve.
        if (!isAlreadyExists(error)) throw error;
        if (informer.get(key) && !mirrorOf(key))
          log.error({ pod: key }, 'the API has another pod of the name of a static pod: it cannot be shown');
      });
  }

  return {
    of(staticPod) {
      const mirror = mirrorOf(podKey(staticPod));
      // The one of an earlier version is about to be replaced: it tells nothing of this pod, and this pod's status is not its.
      return mirror?.metadata.annotations?.[ANNOTATION.mirror] === staticPod.metadata.annotations?.[ANNOTATION.hash]
        ? mirror
        : undefined;
    },
    setStaticPods(staticPods) {
      const before = desired;
      desired = new Map(staticPods.map((pod) => [podKey(pod), pod]));
      for (const key of new Set([...before.keys(), ...desired.keys()]))
        if (before.get(key)?.metadata.uid !== desired.get(key)?.metadata.uid) queue.add(key);
    },
    collect() {
      isComplete = true;
      for (const pod of informer.list()) if (isMirrorPod(pod)) queue.add(podKey(pod));
    },
    onShown(handler) {
      listeners.add(handler);
      return () => listeners.delete(handler);
    },
    async run(signal) {
      await informer.synced(signal).catch(() => undefined);
      const look = (pod: Pod) => {
        if (isMirrorPod(pod)) queue.add(podKey(pod));
      };
      const added = (pod: Pod) => {
        look(pod);
        const staticUid = isMirrorPod(pod) ? desired.get(podKey(pod))?.metadata.uid : undefined;
        if (staticUid !== undefined) for (const listener of listeners) listener(staticUid);
      };
      const unsubscribe = informer.subscribe({ added, updated: (_, pod) => look(pod), deleted: look });
      await queue.run(signal);
      unsubscribe();
    },
  };
}

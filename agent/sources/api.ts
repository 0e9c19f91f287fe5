import type { Informer } from '../../src/kube/informer.ts';
import type { Pod } from '../../src/kube/types.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import { ANNOTATION, isMirrorPod } from '../pods/annotations.ts';
import type { PodSource } from './source.ts';

/** The agent's own copy: marked with where it came from; the informer's object is shared and stays as it is. */
function annotated(pod: Pod, seen: string): Pod {
  const annotations = { ...pod.metadata.annotations, [ANNOTATION.source]: 'api', [ANNOTATION.seen]: seen };
  return { ...pod, metadata: { ...pod.metadata, annotations } };
}

/**
 * Pods that the API has bound to this node; mirrors of static pods are not run. The informer itself runs elsewhere.
 *
 * @param ready resolves when what these pods need of the API beside themselves is known; static pods do not wait for it.
 */
export function createApiSource(
  informer: Informer<Pod>,
  clock: Clock,
  ready: (signal: AbortSignal) => Promise<void> = async () => {},
): PodSource {
  return {
    name: 'api',
    async run(sink, signal) {
      const seen = new Map<string, string>();
      const prepare = (pod: Pod) => {
        const { uid } = pod.metadata;
        const at = seen.get(uid) ?? new Date(clock.nowMs()).toISOString();
        seen.set(uid, at);
        return annotated(pod, at);
      };
      const remove = (uid: string) => {
        seen.delete(uid);
        sink.remove(uid);
      };
      await Promise.all([informer.synced(signal), ready(signal)]).catch(() => undefined);
      if (signal.aborted) return;
      sink.set(
        informer
          .list()
          .filter((pod) => !isMirrorPod(pod))
          .map(prepare),
      );
      const unsubscribe = informer.subscribe({
        added(pod) {
          // What existed is replayed; the set above has it.
          if (!isMirrorPod(pod) && !seen.has(pod.metadata.uid)) sink.upsert(prepare(pod));
        },
        updated(old, pod) {
          if (old.metadata.uid !== pod.metadata.uid) remove(old.metadata.uid);
          if (!isMirrorPod(pod)) sink.upsert(prepare(pod));
        },
        deleted(pod) {
          remove(pod.metadata.uid);
        },
      });
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
      unsubscribe();
    },
  };
}

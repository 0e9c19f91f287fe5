import type { Pod } from '../../src/kube/types.ts';

/** Where desired pods come from. */
export interface PodSource {
  /** As the config.source annotation shows it. */
  readonly name: 'api' | 'file' | 'http';
  /** Delivers until aborted. The first `set` says that the source is synced. */
  run(sink: PodSink, signal: AbortSignal): Promise<void>;
}

export interface PodSink {
  /** All pods of this source. */
  set(pods: Pod[]): void;
  upsert(pod: Pod): void;
  remove(uid: string): void;
}

export interface DesiredPodHandlers {
  updated(pod: Pod): void;
  removed(uid: string): void;
  /** Every source has delivered its first set: what the runtime has beyond them is an orphan. Called once. */
  synced(): void;
}

export interface DesiredPods {
  list(): Pod[];
  run(signal: AbortSignal): Promise<void>;
}

/** Merges the sources into one desired set, keyed by UID. */
export function createDesiredPods(sources: readonly PodSource[], handlers: DesiredPodHandlers): DesiredPods {
  const pods = new Map<string, Map<string, Pod>>(sources.map(({ name }) => [name, new Map()]));
  const waiting = new Set<string>(sources.map(({ name }) => name));

  function sinkOf(source: PodSource): PodSink {
    const own = pods.get(source.name)!;
    const upsert = (pod: Pod) => {
      own.set(pod.metadata.uid, pod);
      handlers.updated(pod);
    };
    const remove = (uid: string) => {
      if (own.delete(uid)) handlers.removed(uid);
    };
    return {
      upsert,
      remove,
      set(all) {
        const uids = new Set(all.map(({ metadata }) => metadata.uid));
        for (const uid of [...own.keys()]) if (!uids.has(uid)) remove(uid);
        for (const pod of all) upsert(pod);
        if (waiting.delete(source.name) && waiting.size === 0) handlers.synced();
      },
    };
  }

  return {
    list: () => [...pods.values()].flatMap((own) => [...own.values()]),
    async run(signal) {
      if (sources.length === 0) handlers.synced();
      await Promise.all(sources.map((source) => source.run(sinkOf(source), signal)));
    },
  };
}

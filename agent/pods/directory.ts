import type { Pod } from '../../src/kube/types.ts';
import type { Allocations } from '../resources/allocation/allocations.ts';
import type { PodDirectory, StatusManager } from './ports.ts';
import type { RuntimeCache } from './runtime-cache.ts';
import type { PodWorkers } from './workers.ts';

export interface PodDirectoryDependencies {
  workers: Pick<PodWorkers, 'get' | 'list'>;
  runtime: Pick<RuntimeCache, 'pod' | 'lastRelistMonotonicMs'>;
  status: Pick<StatusManager, 'get'>;
  allocations: Pick<Allocations, 'allocatedPod'>;
}

/** What the rest of the agent (server, metrics, node status) may know of its pods. Orphans belong to nobody and are not shown. */
export function createPodDirectory({ workers, runtime, status, allocations }: PodDirectoryDependencies): PodDirectory {
  const shown = () => workers.list().filter(({ isOrphan }) => !isOrphan);

  /** As it is here: what a resize asks for is not shown before it is allocated. */
  function withStatus(asked: Pod): Pod {
    const pod = allocations.allocatedPod(asked);
    const newest = status.get(pod.metadata.uid);
    return newest ? { ...pod, status: newest } : pod;
  }

  return {
    list: () => shown().map(({ pod }) => withStatus(pod)),
    get(namespace, name) {
      // A pod that ends still, and one that was made since under its name: the newer is meant.
      const work = shown().findLast(({ pod }) => pod.metadata.namespace === namespace && pod.metadata.name === name);
      return work && withStatus(work.pod);
    },
    getByUid(uid) {
      const work = workers.get(uid);
      return work && !work.isOrphan ? withStatus(work.pod) : undefined;
    },
    runtime: (uid) => (workers.get(uid) ? runtime.pod(uid) : undefined),
    lastRelistMonotonicMs: () => runtime.lastRelistMonotonicMs(),
  };
}

import type { Pod } from '../../src/kube/types.ts';
import type { ClusterView } from './node-info.ts';

/**
 * What must be worked out over the whole cluster before single nodes can be judged (upstream's PreFilter), kept for as
 * long as the view of the cluster is: a view is made anew for every decision.
 */
export function memoizedPerPod<S>(compute: (pod: Pod, view: ClusterView) => S): (pod: Pod, view: ClusterView) => S {
  const states = new WeakMap<ClusterView, Map<Pod, S>>();
  return (pod, view) => {
    const byPod = states.get(view) ?? new Map<Pod, S>();
    states.set(view, byPod);
    const known = byPod.get(pod);
    if (known !== undefined) return known;
    const state = compute(pod, view);
    byPod.set(pod, state);
    return state;
  };
}

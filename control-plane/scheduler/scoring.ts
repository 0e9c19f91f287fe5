import type { Pod } from '../../src/kube/types.ts';
import { isTolerated } from '../tolerations.ts';
import { preferredNodeAffinity } from './node-affinity.ts';
import type { ClusterView, NodeInfo } from './node-info.ts';
import { compileTerm, domainOf, selects, usesPodAffinity } from './pod-affinity.ts';
import { nonZeroRequests } from './requests.ts';
import { computeSpreads } from './topology-spread.ts';

/** Nodes' points, 0–100 and in the order of the nodes, and how much they weigh. */
interface Scorer {
  weight: number;
  score(pod: Pod, nodes: readonly NodeInfo[], view: ClusterView): number[];
}

/** Room left after placing the pod, as a share of cpu and memory (LeastAllocated). */
const leastAllocated: Scorer = {
  weight: 1,
  score: (pod, nodes) =>
    nodes.map((info) => {
      const used = usedShares(pod, info);
      return used.length === 0 ? 0 : (used.reduce((sum, share) => sum + (1 - share), 0) / used.length) * 100;
    }),
};

/** How evenly cpu and memory are used: (1 − standard deviation) · 100. Pods without requests don't care. */
const balancedAllocation: Scorer = {
  weight: 1,
  score: (pod, nodes) =>
    nodes.map((info) => {
      const used = usedShares(pod, info);
      if (used.length < 2) return 100;
      return (1 - Math.abs(used[0]! - used[1]!) / 2) * 100;
    }),
};

/** Fewer untolerated PreferNoSchedule taints. */
const toleratedTaints: Scorer = {
  weight: 3,
  score: (pod, nodes) =>
    normalized(
      nodes.map(
        ({ node }) =>
          (node.spec?.taints ?? []).filter(
            (taint) => taint.effect === 'PreferNoSchedule' && !isTolerated(taint, pod.spec.tolerations),
          ).length,
      ),
      'fewest',
    ),
};

const preferredAffinity: Scorer = {
  weight: 2,
  score: (pod, nodes) =>
    normalized(
      nodes.map(({ node }) => preferredNodeAffinity(pod, node)),
      'most',
    ),
};

/** Preferred inter-pod terms: the weights of those that a node's domains satisfy, anti-affinity counting against it. */
const preferredPodAffinity: Scorer = {
  weight: 2,
  score(pod, nodes, view) {
    if (!usesPodAffinity(pod)) return nodes.map(() => 0);
    const points = new Map<string, number>();
    for (const [rule, sign] of [
      ['podAffinity', 1],
      ['podAntiAffinity', -1],
    ] as const)
      for (const { weight, podAffinityTerm } of pod.spec.affinity?.[rule]
        ?.preferredDuringSchedulingIgnoredDuringExecution ?? []) {
        const term = compileTerm(podAffinityTerm, pod, view);
        for (const { node, pods } of view.nodes) {
          const domain = domainOf(node, term.topologyKey);
          if (domain === undefined) continue;
          const matching = [...pods.values()].filter((other) => selects(term, other)).length;
          points.set(domain, (points.get(domain) ?? 0) + sign * weight * matching);
        }
      }
    const totals = nodes.map(({ node }) =>
      Object.entries(node.metadata.labels ?? {}).reduce(
        (sum, [key, value]) => sum + (points.get(`${key}=${value}`) ?? 0),
        0,
      ),
    );
    const least = Math.min(...totals);
    return normalized(
      totals.map((total) => total - least),
      'most',
    );
  },
};

/** Soft topology spread constraints: fewer matching pods in the node's domains. Nodes outside all domains come last. */
const softSpread: Scorer = {
  weight: 2,
  score(pod, nodes, view) {
    const soft = (pod.spec.topologySpreadConstraints ?? []).filter((one) => one.whenUnsatisfiable === 'ScheduleAnyway');
    if (soft.length === 0) return nodes.map(() => 0);
    const spreads = computeSpreads(pod, view.nodes, soft);
    const most = spreads.reduce((sum, { counts }) => sum + Math.max(0, ...counts.values()) + 1, 0);
    const counts = nodes.map(({ node }) =>
      spreads.reduce((sum, { constraint, counts }) => {
        const value = node.metadata.labels?.[constraint.topologyKey];
        return sum + (value === undefined ? most : (counts.get(value) ?? 0));
      }, 0),
    );
    return normalized(counts, 'fewest');
  },
};

/** Fewer pods of the same owner on the node, and in its zone: what upstream's default spreading constraints come to. */
const spreadByOwner: Scorer = {
  weight: 2,
  score(pod, nodes) {
    // Constraints of the pod's own replace the default ones.
    if (pod.spec.topologySpreadConstraints?.length) return nodes.map(() => 0);
    const owner = pod.metadata.ownerReferences?.find(({ controller }) => controller)?.uid;
    if (!owner) return nodes.map(() => 100);
    const onNode = nodes.map(({ pods }) => [...pods.values()].filter((other) => isOwnedBy(other, owner)).length);
    const zones = nodes.map(({ node }) => node.metadata.labels?.['topology.kubernetes.io/zone']);
    const inZone = zones.map((zone) =>
      zone === undefined ? 0 : onNode.reduce((sum, count, index) => sum + (zones[index] === zone ? count : 0), 0),
    );
    const byNode = normalized(onNode, 'fewest');
    if (zones.every((zone) => zone === undefined)) return byNode;
    const byZone = normalized(inZone, 'fewest');
    return byNode.map((score, index) => (score + byZone[index]!) / 2);
  },
};

const SCORERS: readonly Scorer[] = [
  toleratedTaints,
  preferredAffinity,
  preferredPodAffinity,
  softSpread,
  spreadByOwner,
  leastAllocated,
  balancedAllocation,
];

/** The best of the feasible nodes; of equals the one that `random` (0…1) picks, so that they share the load. */
export function bestNode(
  pod: Pod,
  nodes: readonly NodeInfo[],
  view: ClusterView,
  random: () => number,
): NodeInfo | undefined {
  if (nodes.length <= 1) return nodes[0];
  const totals = nodes.map(() => 0);
  for (const { weight, score } of SCORERS)
    score(pod, nodes, view).forEach((points, index) => {
      totals[index]! += weight * Math.floor(points);
    });
  const top = Math.max(...totals);
  const best = nodes.filter((_, index) => totals[index] === top);
  return best[Math.min(best.length - 1, Math.floor(random() * best.length))];
}

function usedShares(pod: Pod, { allocatable, scored }: NodeInfo): number[] {
  const asked = nonZeroRequests(pod);
  return (['cpu', 'memory'] as const).flatMap((name) => {
    const capacity = allocatable.get(name) ?? 0;
    return capacity > 0 ? [Math.min(1, (scored[name] + asked[name]) / capacity)] : [];
  });
}

/** Scales to 0–100 by the largest; `fewest` turns it round. All equal to 0 is all the best. */
function normalized(counts: readonly number[], better: 'most' | 'fewest'): number[] {
  const largest = Math.max(...counts);
  return counts.map((count) => {
    if (largest === 0) return better === 'fewest' ? 100 : 0;
    return better === 'fewest' ? (1 - count / largest) * 100 : (count / largest) * 100;
  });
}

function isOwnedBy(pod: Pod, uid: string): boolean {
  return (
    !pod.metadata.deletionTimestamp &&
    Boolean(pod.metadata.ownerReferences?.some((one) => one.controller && one.uid === uid))
  );
}

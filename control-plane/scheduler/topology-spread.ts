import { type LabelMatcher, labelMatcher, labelSelector } from '../../src/kube/selectors.ts';
import type { Pod, TopologySpreadConstraint } from '../../src/kube/types.ts';
import { isTolerated } from '../tolerations.ts';
import { matchesRequiredNodeAffinity } from './node-affinity.ts';
import type { ClusterView, NodeInfo } from './node-info.ts';
import { memoizedPerPod } from './per-pod.ts';

const REASON = "node(s) didn't match pod topology spread constraints";

/** How a constraint's pods are spread now. */
export interface Spread {
  constraint: TopologySpreadConstraint;
  selector: LabelMatcher;
  /** Matching pods by the topology key's value, of the nodes that count. */
  counts: Map<string, number>;
}

const requiredSpreads = memoizedPerPod((pod: Pod, view: ClusterView) =>
  computeSpreads(pod, view.nodes, (pod.spec.topologySpreadConstraints ?? []).filter(isRequired)),
);

const isRequired = ({ whenUnsatisfiable }: TopologySpreadConstraint) => whenUnsatisfiable === 'DoNotSchedule';

/** Counts, for each constraint, matching pods in every domain of the nodes that the pod could use. */
export function computeSpreads(
  pod: Pod,
  nodes: readonly NodeInfo[],
  constraints: readonly TopologySpreadConstraint[],
): Spread[] {
  const counting = nodes.filter(({ node }) =>
    constraints.every(({ topologyKey }) => node.metadata.labels?.[topologyKey] !== undefined),
  );
  return constraints.map((constraint) => {
    const selector = selectorOf(constraint, pod);
    const counts = new Map<string, number>();
    for (const info of counting) {
      if (!isEligible(pod, info, constraint)) continue;
      const value = info.node.metadata.labels![constraint.topologyKey]!;
      counts.set(value, (counts.get(value) ?? 0) + countMatching(pod, info, selector));
    }
    return { constraint, selector, counts };
  });
}

/** Why required spreading keeps a pod off a node; undefined when it doesn't. */
export function violatesSpread(pod: Pod, { node }: NodeInfo, view: ClusterView): string | undefined {
  for (const { constraint, selector, counts } of requiredSpreads(pod, view)) {
    const value = node.metadata.labels?.[constraint.topologyKey];
    if (value === undefined) return `${REASON} (missing required label)`;
    const isTooFew = counts.size < (constraint.minDomains ?? 1);
    const least = isTooFew || counts.size === 0 ? 0 : Math.min(...counts.values());
    const own = selector.matches(pod.metadata.labels) ? 1 : 0;
    if ((counts.get(value) ?? 0) + own - least > constraint.maxSkew) return REASON;
  }
  return undefined;
}

/** matchLabelKeys narrow the selector to pods with the same values as this one. */
function selectorOf(
  { labelSelector: selector, matchLabelKeys = [] }: TopologySpreadConstraint,
  pod: Pod,
): LabelMatcher {
  const own = matchLabelKeys.flatMap((key) => {
    const value = pod.metadata.labels?.[key];
    return value === undefined ? [] : [{ key, operator: 'in' as const, values: [value] }];
  });
  const base = labelSelector(selector);
  return own.length === 0 ? base : labelMatcher([...base.requirements, ...own], !selector);
}

function isEligible(pod: Pod, { node }: NodeInfo, constraint: TopologySpreadConstraint): boolean {
  if (constraint.nodeAffinityPolicy !== 'Ignore' && !matchesRequiredNodeAffinity(pod, node)) return false;
  if (constraint.nodeTaintsPolicy !== 'Honor') return true;
  return (node.spec?.taints ?? []).every(
    (taint) => taint.effect === 'PreferNoSchedule' || isTolerated(taint, pod.spec.tolerations),
  );
}

function countMatching(pod: Pod, { pods }: NodeInfo, selector: LabelMatcher): number {
  let count = 0;
  for (const other of pods.values())
    if (
      other.metadata.namespace === pod.metadata.namespace &&
      !other.metadata.deletionTimestamp &&
      selector.matches(other.metadata.labels)
    )
      count++;
  return count;
}

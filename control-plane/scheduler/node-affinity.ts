import {
  expressionRequirements,
  labelMatcher,
  mapSelector,
  matchesRequirement,
  SelectorError,
} from '../../src/kube/selectors.ts';
import type { Node, NodeSelector, NodeSelectorTerm, Pod } from '../../src/kube/types.ts';

/** Whether a node satisfies a pod's nodeSelector and its required node affinity. */
export function matchesRequiredNodeAffinity(pod: Pod, node: Node): boolean {
  if (!mapSelector(pod.spec.nodeSelector).matches(node.metadata.labels)) return false;
  const required = pod.spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  return !required || matchesNodeSelector(required, node);
}

/** Terms are ORed; also what a PersistentVolume says of the nodes that reach it. */
export function matchesNodeSelector(selector: NodeSelector, node: Node): boolean {
  return (selector.nodeSelectorTerms ?? []).some((term) => matchesTerm(term, node));
}

/** The weights of the preferred terms that a node matches, summed. */
export function preferredNodeAffinity(pod: Pod, node: Node): number {
  const preferred = pod.spec.affinity?.nodeAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? [];
  return preferred.reduce((sum, { weight, preference }) => sum + (matchesTerm(preference, node) ? weight : 0), 0);
}

/** Expressions and fields of a term are ANDed; a term without either matches nothing. */
function matchesTerm({ matchExpressions = [], matchFields = [] }: NodeSelectorTerm, node: Node): boolean {
  if (matchExpressions.length === 0 && matchFields.length === 0) return false;
  try {
    if (!labelMatcher(expressionRequirements(matchExpressions)).matches(node.metadata.labels)) return false;
    const fields = { 'metadata.name': node.metadata.name };
    return expressionRequirements(matchFields).every((requirement) => matchesRequirement(requirement, fields));
  } catch (error) {
    // The API validates terms; one that slipped through must not stop the queue.
    if (error instanceof SelectorError) return false;
    throw error;
  }
}

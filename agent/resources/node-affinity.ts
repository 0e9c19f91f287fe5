import { expressionRequirements, matchesRequirement } from '../../src/kube/selectors.ts';
import type { NodeSelectorTerm, PersistentVolume, Pod } from '../../src/kube/types.ts';

/** Whether the pod's nodeSelector and required node affinity accept a node of this name and these labels. */
export function nodeMatches(pod: Pod, node: { name: string; labels: Record<string, string> }): boolean {
  for (const [key, value] of Object.entries(pod.spec.nodeSelector ?? {})) if (node.labels[key] !== value) return false;
  const required = pod.spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  return required ? required.nodeSelectorTerms.some((term) => termMatches(term, node)) : true;
}

/** Whether a node of this name and these labels is within the reach of the volume. */
export function volumeReaches(
  { spec }: PersistentVolume,
  node: { name: string; labels: Record<string, string> },
): boolean {
  const required = spec.nodeAffinity?.required;
  return !required || required.nodeSelectorTerms.some((term) => termMatches(term, node));
}

/** A term without any expression matches nothing; one that cannot be parsed neither. */
function termMatches(term: NodeSelectorTerm, node: { name: string; labels: Record<string, string> }): boolean {
  const { matchExpressions = [], matchFields = [] } = term;
  if (matchExpressions.length + matchFields.length === 0) return false;
  try {
    const fields = { 'metadata.name': node.name };
    return (
      expressionRequirements(matchExpressions).every((one) => matchesRequirement(one, node.labels)) &&
      expressionRequirements(matchFields).every((one) => matchesRequirement(one, fields))
    );
  } catch {
    return false;
  }
}

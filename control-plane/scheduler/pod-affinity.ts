import { type LabelMatcher, labelSelector } from '../../src/kube/selectors.ts';
import type { Namespace, Node, Pod, PodAffinityTerm } from '../../src/kube/types.ts';
import type { NodeInfo } from './node-info.ts';

/** What inter-pod rules need beside the node: all other nodes, and namespaces for namespaceSelector. */
export interface AffinityContext {
  nodes: readonly NodeInfo[];
  namespaceOf(name: string): Namespace | undefined;
}

interface Term {
  topologyKey: string;
  selector: LabelMatcher;
  /** Whether pods of a namespace are meant at all. */
  concerns(namespace: string): boolean;
}

type Rule = 'podAffinity' | 'podAntiAffinity';

/** A pod's required terms of one rule. A term without namespaces means the pod's own. */
function requiredTerms(pod: Pod, rule: Rule, context: AffinityContext): Term[] {
  const terms = pod.spec.affinity?.[rule]?.requiredDuringSchedulingIgnoredDuringExecution ?? [];
  return terms.map((term) => compile(term, pod, context));
}

function compile(term: PodAffinityTerm, pod: Pod, context: AffinityContext): Term {
  const named = new Set(term.namespaces ?? []);
  const byLabels = term.namespaceSelector ? labelSelector(term.namespaceSelector) : undefined;
  if (named.size === 0 && !byLabels) named.add(pod.metadata.namespace!);
  return {
    topologyKey: term.topologyKey,
    selector: labelSelector(term.labelSelector),
    concerns: (namespace) =>
      named.has(namespace) || (byLabels?.matches(context.namespaceOf(namespace)?.metadata.labels) ?? false),
  };
}

function selects(term: Term, pod: Pod): boolean {
  return term.concerns(pod.metadata.namespace!) && term.selector.matches(pod.metadata.labels);
}

const topologyOf = (node: Node, key: string): string | undefined => node.metadata.labels?.[key];

/** Pods in the same topology domain as the node (the node itself when it lacks the label: no domain). */
function podsInDomain(node: Node, key: string, context: AffinityContext): Pod[] {
  const domain = topologyOf(node, key);
  if (domain === undefined) return [];
  return context.nodes
    .filter((info) => topologyOf(info.node, key) === domain)
    .flatMap((info) => [...info.pods.values()]);
}

export const AFFINITY_REASON = "node(s) didn't match pod affinity rules";
export const ANTI_AFFINITY_REASON = "node(s) didn't match pod anti-affinity rules";
export const EXISTING_ANTI_AFFINITY_REASON = "node(s) didn't satisfy existing pods anti-affinity rules";

export function usesPodAffinity(pod: Pod): boolean {
  const { podAffinity, podAntiAffinity } = pod.spec.affinity ?? {};
  return Boolean(podAffinity || podAntiAffinity);
}

/** Why the required inter-pod rules keep a pod off a node; undefined when they don't. */
export function violatesPodAffinity(pod: Pod, info: NodeInfo, context: AffinityContext): string | undefined {
  if (violatesExisting(pod, info, context)) return EXISTING_ANTI_AFFINITY_REASON;
  for (const term of requiredTerms(pod, 'podAntiAffinity', context))
    if (podsInDomain(info.node, term.topologyKey, context).some((other) => selects(term, other)))
      return ANTI_AFFINITY_REASON;
  const affinity = requiredTerms(pod, 'podAffinity', context);
  if (affinity.length === 0) return undefined;
  if (affinity.some((term) => topologyOf(info.node, term.topologyKey) === undefined)) return AFFINITY_REASON;
  const isMet = affinity.every((term) =>
    podsInDomain(info.node, term.topologyKey, context).some((other) => selects(term, other)),
  );
  if (isMet) return undefined;
  // The first pod of a group that wants to be together may go anywhere: there is nobody to be with yet.
  const hasCompany = context.nodes.some(({ pods }) =>
    [...pods.values()].some((other) => affinity.every((term) => selects(term, other))),
  );
  const isFirst = !hasCompany && affinity.every((term) => selects(term, pod));
  return isFirst ? undefined : AFFINITY_REASON;
}

/** Pods that run already may refuse the new one in their domain. */
function violatesExisting(pod: Pod, info: NodeInfo, context: AffinityContext): boolean {
  for (const other of context.nodes)
    for (const existing of other.pods.values()) {
      if (!existing.spec.affinity?.podAntiAffinity) continue;
      for (const term of requiredTerms(existing, 'podAntiAffinity', context)) {
        const domain = topologyOf(other.node, term.topologyKey);
        if (domain !== undefined && topologyOf(info.node, term.topologyKey) === domain && selects(term, pod))
          return true;
      }
    }
  return false;
}

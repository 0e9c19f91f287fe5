import { type LabelMatcher, labelSelector } from '../../src/kube/selectors.ts';
import type { Node, Pod, PodAffinityTerm } from '../../src/kube/types.ts';
import type { ClusterView, NodeInfo } from './node-info.ts';
import { memoizedPerPod } from './per-pod.ts';

export const AFFINITY_REASON = "node(s) didn't match pod affinity rules";
export const ANTI_AFFINITY_REASON = "node(s) didn't match pod anti-affinity rules";
export const EXISTING_ANTI_AFFINITY_REASON = "node(s) didn't satisfy existing pods anti-affinity rules";

interface Term {
  topologyKey: string;
  selector: LabelMatcher;
  /** Whether pods of a namespace are meant at all. */
  concerns(namespace: string): boolean;
}

type Rule = 'podAffinity' | 'podAntiAffinity';

/** A pod's required terms of one rule. A term without namespaces means the pod's own. */
function requiredTerms(pod: Pod, rule: Rule, view: ClusterView): Term[] {
  const terms = pod.spec.affinity?.[rule]?.requiredDuringSchedulingIgnoredDuringExecution ?? [];
  return terms.map((term) => compileTerm(term, pod, view));
}

export function compileTerm(term: PodAffinityTerm, pod: Pod, view: ClusterView): Term {
  const named = new Set(term.namespaces ?? []);
  const byLabels = term.namespaceSelector ? labelSelector(term.namespaceSelector) : undefined;
  if (named.size === 0 && !byLabels) named.add(pod.metadata.namespace!);
  return {
    topologyKey: term.topologyKey,
    selector: labelSelector(term.labelSelector),
    concerns: (namespace) =>
      named.has(namespace) || (byLabels?.matches(view.namespaceOf(namespace)?.metadata.labels) ?? false),
  };
}

export function selects(term: Term, pod: Pod): boolean {
  return term.concerns(pod.metadata.namespace!) && term.selector.matches(pod.metadata.labels);
}

/** 'topologyKey=value' of a node; undefined when it has no such label and so is in no domain. */
export function domainOf(node: Node, topologyKey: string): string | undefined {
  const value = node.metadata.labels?.[topologyKey];
  return value === undefined ? undefined : `${topologyKey}=${value}`;
}

export function usesPodAffinity(pod: Pod): boolean {
  const { podAffinity, podAntiAffinity } = pod.spec.affinity ?? {};
  return Boolean(podAffinity || podAntiAffinity);
}

/** What the required inter-pod rules say for one pod, by domain; worked out once and asked for every node. */
interface AffinityState {
  affinity: Term[];
  antiAffinity: Term[];
  /** Domains whose pods don't want this one. */
  refusing: Set<string>;
  /** Domains with a pod that this one wants to avoid. */
  avoided: Set<string>;
  /** Domains with a pod that this one wants to be with (by all of its terms). */
  wanted: Set<string>;
  /** Nobody to be with exists yet, and it would be company for itself: the first of a group may go anywhere. */
  isFirst: boolean;
}

const stateOf = memoizedPerPod((pod: Pod, view: ClusterView): AffinityState => {
  const affinity = requiredTerms(pod, 'podAffinity', view);
  const antiAffinity = requiredTerms(pod, 'podAntiAffinity', view);
  const [refusing, avoided, wanted] = [new Set<string>(), new Set<string>(), new Set<string>()];
  let hasCompany = false;
  const note = (domains: Set<string>, node: Node, term: Term) => {
    const domain = domainOf(node, term.topologyKey);
    if (domain !== undefined) domains.add(domain);
  };
  for (const { node, pods } of view.nodes)
    for (const other of pods.values()) {
      if (other.spec.affinity?.podAntiAffinity)
        for (const term of requiredTerms(other, 'podAntiAffinity', view))
          if (selects(term, pod)) note(refusing, node, term);
      for (const term of antiAffinity) if (selects(term, other)) note(avoided, node, term);
      if (affinity.length === 0 || !affinity.every((term) => selects(term, other))) continue;
      hasCompany = true;
      for (const term of affinity) note(wanted, node, term);
    }
  const isFirst = !hasCompany && affinity.every((term) => selects(term, pod));
  return { affinity, antiAffinity, refusing, avoided, wanted, isFirst };
});

/** Why the required inter-pod rules keep a pod off a node; undefined when they don't. */
export function violatesPodAffinity(pod: Pod, { node }: NodeInfo, view: ClusterView): string | undefined {
  const state = stateOf(pod, view);
  const isIn = (domains: Set<string>, key: string) => domains.has(domainOf(node, key) ?? '');
  for (const [key, value] of Object.entries(node.metadata.labels ?? {}))
    if (state.refusing.has(`${key}=${value}`)) return EXISTING_ANTI_AFFINITY_REASON;
  if (state.antiAffinity.some(({ topologyKey }) => isIn(state.avoided, topologyKey))) return ANTI_AFFINITY_REASON;
  if (state.affinity.length === 0) return undefined;
  if (state.affinity.some(({ topologyKey }) => domainOf(node, topologyKey) === undefined)) return AFFINITY_REASON;
  const isMet = state.isFirst || state.affinity.every(({ topologyKey }) => isIn(state.wanted, topologyKey));
  return isMet ? undefined : AFFINITY_REASON;
}

import type { ContainerPort, Pod, Taint } from '../../src/kube/types.ts';
import { isTolerated } from '../tolerations.ts';
import { matchesRequiredNodeAffinity } from './node-affinity.ts';
import type { ClusterView, NodeInfo } from './node-info.ts';
import { memoizedPerPod } from './per-pod.ts';
import { violatesPodAffinity } from './pod-affinity.ts';
import { decideVolumes, type PodClaims, sortClaims, violatesOncePod } from './pod-volumes.ts';
import { podRequests } from './requests.ts';
import { violatesSpread } from './topology-spread.ts';
import { exceedsVolumeLimit } from './volume-limits.ts';

/** Why a node is not for a pod, in upstream's words; empty when it is. */
export type Filter = (pod: Pod, info: NodeInfo, view: ClusterView) => string[];

const UNSCHEDULABLE_TAINT: Taint = { key: 'node.kubernetes.io/unschedulable', effect: 'NoSchedule' };

const when = (isRefused: boolean, reason: string): string[] => (isRefused ? [reason] : []);

export const filterUnschedulable: Filter = (pod, { node }) =>
  when(
    Boolean(node.spec?.unschedulable) && !isTolerated(UNSCHEDULABLE_TAINT, pod.spec.tolerations),
    'node(s) were unschedulable',
  );

export const filterNodeName: Filter = (pod, { node }) =>
  when(
    Boolean(pod.spec.nodeName) && pod.spec.nodeName !== node.metadata.name,
    "node(s) didn't match the requested node name",
  );

export const filterTaints: Filter = (pod, { node }) => {
  const taint = (node.spec?.taints ?? []).find(
    (one) => one.effect !== 'PreferNoSchedule' && !isTolerated(one, pod.spec.tolerations),
  );
  return taint ? [`node(s) had untolerated taint {${taint.key}: ${taint.value ?? ''}}`] : [];
};

export const filterNodeAffinity: Filter = (pod, { node }) =>
  when(!matchesRequiredNodeAffinity(pod, node), "node(s) didn't match Pod's node affinity/selector");

export const filterHostPorts: Filter = (pod, { pods }) => {
  const wanted = hostPorts(pod);
  if (wanted.length === 0) return [];
  const taken = [...pods.values()].flatMap(hostPorts);
  const conflict = wanted.some((port) => taken.some((other) => portsConflict(port, other)));
  return when(conflict, "node(s) didn't have free ports for the requested pod ports");
};

export const filterResources: Filter = (pod, { allocatable, requested, pods }) => {
  const reasons = when(pods.size + 1 > (allocatable.get('pods') ?? 0), 'Too many pods');
  for (const [name, amount] of podRequests(pod)) {
    if (amount === 0) continue;
    if (amount > (allocatable.get(name) ?? 0) - (requested.get(name) ?? 0)) reasons.push(`Insufficient ${name}`);
  }
  return reasons;
};

export const filterPodAffinity: Filter = (pod, info, view) => {
  const reason = violatesPodAffinity(pod, info, view);
  return reason ? [reason] : [];
};

export const filterTopologySpread: Filter = (pod, info, view) => {
  const reason = violatesSpread(pod, info, view);
  return reason ? [reason] : [];
};

const claimsOf = memoizedPerPod<PodClaims>((pod, { storage }) => sortClaims(pod, storage));

/** Claims that can't be bound keep a pod from all nodes; else its volumes must be within the node's reach. */
export const filterVolumes: Filter = (pod, info, view) => {
  if (!pod.spec.volumes?.length) return [];
  const claims = claimsOf(pod, view);
  const refusal = claims.refusal ?? violatesOncePod(pod, claims, view.nodes);
  if (refusal) return [refusal];
  if (exceedsVolumeLimit(pod, info, view.storage)) return ['node(s) exceed max volume count'];
  const decision = decideVolumes(claims, info.node, view.storage);
  return typeof decision === 'string' ? [decision] : [];
};

/** Why no node at all is for a pod (upstream's PreFilter); undefined: look at them. */
export function refusalEverywhere(pod: Pod, view: ClusterView): string | undefined {
  return pod.spec.volumes?.length ? claimsOf(pod, view).refusal : undefined;
}

/** In upstream's order: a node is refused by the first that objects. */
export const FILTERS: readonly Filter[] = [
  filterUnschedulable,
  filterNodeName,
  filterTaints,
  filterNodeAffinity,
  filterHostPorts,
  filterResources,
  filterVolumes,
  filterTopologySpread,
  filterPodAffinity,
];

export function reasonsAgainst(pod: Pod, info: NodeInfo, view: ClusterView): string[] {
  for (const filter of FILTERS) {
    const reasons = filter(pod, info, view);
    if (reasons.length > 0) return reasons;
  }
  return [];
}

const portsOf = new WeakMap<Pod, ContainerPort[]>();

function hostPorts(pod: Pod): ContainerPort[] {
  const known = portsOf.get(pod);
  if (known) return known;
  const sidecars = (pod.spec.initContainers ?? []).filter(({ restartPolicy }) => restartPolicy === 'Always');
  const ports = [...pod.spec.containers, ...sidecars].flatMap((container) =>
    (container.ports ?? []).filter(({ hostPort }) => hostPort),
  );
  portsOf.set(pod, ports);
  return ports;
}

/** The same port and protocol on the same address; 0.0.0.0 and '' are all addresses. */
function portsConflict(a: ContainerPort, b: ContainerPort): boolean {
  if (a.hostPort !== b.hostPort || (a.protocol ?? 'TCP') !== (b.protocol ?? 'TCP')) return false;
  const [one, other] = [a.hostIP || '0.0.0.0', b.hostIP || '0.0.0.0'];
  return one === other || one === '0.0.0.0' || other === '0.0.0.0';
}

import type { Namespace, Node, Pod } from '../../src/kube/types.ts';
import type { StorageView } from './pod-volumes.ts';
import { type Amounts, addAmounts, nonZeroRequests, parseAmounts, podRequests } from './requests.ts';

/** A node with what runs, or is about to run, on it. */
export interface NodeInfo {
  readonly node: Node;
  readonly allocatable: Amounts;
  readonly requested: Amounts;
  /** Requests for comparing nodes, with a little for those who ask for nothing. */
  readonly scored: { readonly cpu: number; readonly memory: number };
  readonly pods: ReadonlyMap<string, Pod>;
}

/** The cluster at the moment of one decision. */
export interface ClusterView {
  readonly nodes: readonly NodeInfo[];
  namespaceOf(name: string): Namespace | undefined;
  readonly storage: StorageView;
}

interface MutableNodeInfo extends NodeInfo {
  node: Node;
  allocatable: Amounts;
  requested: Map<string, number>;
  scored: { cpu: number; memory: number };
  pods: Map<string, Pod>;
}

/** The scheduler's picture of the cluster: informers' nodes and pods, plus pods whose binding is under way. */
export interface SchedulerCache {
  nodes(): NodeInfo[];
  node(name: string): NodeInfo | undefined;
  setNode(node: Node): void;
  removeNode(name: string): void;
  /** An assigned pod as the API shows it; settles an assumption about it. */
  setPod(pod: Pod): void;
  removePod(uid: string): void;
  /** Counts the pod on the node before the API knows it. */
  assume(pod: Pod, nodeName: string): void;
  /** Takes an assumption back, unless the API has confirmed it meanwhile. */
  forget(uid: string): void;
  isAssumed(uid: string): boolean;
}

export function createSchedulerCache(): SchedulerCache {
  const nodes = new Map<string, MutableNodeInfo>();
  /** Where each pod is counted. Pods may be known before their node is. */
  const places = new Map<string, { pod: Pod; nodeName: string; assumed: boolean }>();

  function count(info: MutableNodeInfo, pod: Pod, factor: 1 | -1) {
    addAmounts(info.requested, podRequests(pod), factor);
    const { cpu, memory } = nonZeroRequests(pod);
    info.scored.cpu += factor * cpu;
    info.scored.memory += factor * memory;
    if (factor === 1) info.pods.set(pod.metadata.uid, pod);
    else info.pods.delete(pod.metadata.uid);
  }

  function place(pod: Pod, nodeName: string, assumed: boolean) {
    remove(pod.metadata.uid);
    places.set(pod.metadata.uid, { pod, nodeName, assumed });
    const info = nodes.get(nodeName);
    if (info) count(info, pod, 1);
  }

  function remove(uid: string) {
    const old = places.get(uid);
    if (!old) return;
    places.delete(uid);
    const info = nodes.get(old.nodeName);
    if (info) count(info, old.pod, -1);
  }

  return {
    nodes: () => [...nodes.values()],
    node: (name) => nodes.get(name),
    setNode(node) {
      const { name } = node.metadata;
      const allocatable = parseAmounts(node.status?.allocatable ?? node.status?.capacity);
      const known = nodes.get(name);
      if (known) {
        Object.assign(known, { node, allocatable });
        return;
      }
      const info: MutableNodeInfo = {
        node,
        allocatable,
        requested: new Map(),
        scored: { cpu: 0, memory: 0 },
        pods: new Map(),
      };
      nodes.set(name, info);
      for (const { pod, nodeName } of places.values()) if (nodeName === name) count(info, pod, 1);
    },
    removeNode: (name) => {
      nodes.delete(name);
    },
    setPod: (pod) => place(pod, pod.spec.nodeName!, false),
    removePod: remove,
    assume: (pod, nodeName) => place(pod, nodeName, true),
    forget(uid) {
      if (places.get(uid)?.assumed) remove(uid);
    },
    isAssumed: (uid) => places.get(uid)?.assumed ?? false,
  };
}

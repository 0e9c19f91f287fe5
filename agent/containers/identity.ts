/**
 * Names and labels: the only memory of which container belongs to which pod. A restarted agent rediscovers everything
 * from them (spec sheet §6; the scheme is dockershim's, so that people and tools know it).
 */
import type { Pod } from '../../src/kube/types.ts';

/** `io.kubernetes.container.name` of the pause container. */
export const SANDBOX_CONTAINER_NAME = 'POD';

export const LABEL = {
  podName: 'io.kubernetes.pod.name',
  podNamespace: 'io.kubernetes.pod.namespace',
  podUid: 'io.kubernetes.pod.uid',
  containerName: 'io.kubernetes.container.name',
  dockerType: 'io.kubernetes.docker.type',
  sandboxId: 'io.kubernetes.sandbox.id',
  logPath: 'io.kubernetes.container.logpath',
  hash: 'annotation.io.kubernetes.container.hash',
  restartCount: 'annotation.io.kubernetes.container.restartCount',
  terminationMessagePath: 'annotation.io.kubernetes.container.terminationMessagePath',
  terminationMessagePolicy: 'annotation.io.kubernetes.container.terminationMessagePolicy',
  preStopHandler: 'annotation.io.kubernetes.container.preStopHandler',
  ports: 'annotation.io.kubernetes.container.ports',
  terminationGracePeriod: 'annotation.io.kubernetes.pod.terminationGracePeriod',
  deletionGracePeriod: 'annotation.io.kubernetes.pod.deletionGracePeriod',
  /** The image as the spec names it. The container itself is made of the image's id: what was checked is what runs. */
  image: 'berth.image',
  /** The node that owns the container: several agents may share an Engine with each other or with another kubelet. */
  node: 'berth.node',
} as const;

export interface ContainerIdentity {
  podName: string;
  podNamespace: string;
  podUid: string;
  /** SANDBOX_CONTAINER_NAME for the sandbox. */
  container: string;
  /** Sandbox attempt, or the container's restart count. */
  attempt: number;
}

/** `k8s_<container>_<pod>_<namespace>_<uid>_<attempt>`; none of the parts can contain an underscore. */
export function formatContainerName(identity: ContainerIdentity): string {
  const { container, podName, podNamespace, podUid, attempt } = identity;
  return ['k8s', container, podName, podNamespace, podUid, attempt].join('_');
}

/** The identity of one of our containers from its labels and name; undefined when it is not one of ours. */
export function parseIdentity(name: string, labels: Record<string, string>): ContainerIdentity | undefined {
  const parts = name.split('_');
  const attempt = Number(parts[5]);
  const [podName, podNamespace, podUid] = [labels[LABEL.podName], labels[LABEL.podNamespace], labels[LABEL.podUid]];
  const container = labels[LABEL.containerName];
  if (parts[0] !== 'k8s' || !Number.isInteger(attempt) || !podName || !podNamespace || !podUid || !container)
    return undefined;
  return { podName, podNamespace, podUid, container, attempt };
}

/** Labels that sandboxes and containers have in common. */
export function podLabels(pod: Pod, nodeName: string): Record<string, string> {
  return {
    [LABEL.podName]: pod.metadata.name,
    [LABEL.podNamespace]: pod.metadata.namespace ?? 'default',
    [LABEL.podUid]: pod.metadata.uid,
    [LABEL.node]: nodeName,
  };
}

/** `ns/name`, for logs and maps. */
export function podKey(pod: Pod): string {
  return `${pod.metadata.namespace}/${pod.metadata.name}`;
}

/** `name_ns(uid)`, as messages show a pod. */
export function podDescription(pod: Pod): string {
  return `${pod.metadata.name}_${pod.metadata.namespace}(${pod.metadata.uid})`;
}

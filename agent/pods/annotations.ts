import type { Pod } from '../../src/kube/types.ts';

export const ANNOTATION = {
  /** `api`, `file` or `http`; only on the agent's own copies. */
  source: 'kubernetes.io/config.source',
  seen: 'kubernetes.io/config.seen',
  /** A static pod's UID, which is a hash of its content. */
  hash: 'kubernetes.io/config.hash',
  /** On mirror pods: the hash of the static pod that they show. */
  mirror: 'kubernetes.io/config.mirror',
} as const;

/** A pod that the node runs of its own accord; the API only shows a mirror of it. */
export function isStaticPod(pod: Pod): boolean {
  const source = pod.metadata.annotations?.[ANNOTATION.source];
  return source !== undefined && source !== 'api';
}

export function isMirrorPod(pod: Pod): boolean {
  return pod.metadata.annotations?.[ANNOTATION.mirror] !== undefined;
}

import type { Pod } from '../../src/kube/types.ts';
import type { PodRuntimeStatus } from './ports.ts';

/** A pod as far as its containers' labels tell of it; enough to end it. */
export function buildOrphanPod(runtime: PodRuntimeStatus): Pod {
  const names = [...new Set(runtime.containers.map(({ name }) => name))];
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: runtime.name,
      namespace: runtime.namespace,
      uid: runtime.uid,
      resourceVersion: '',
      creationTimestamp: '',
    },
    spec: {
      containers: names.map((name) => ({ name })),
      hostNetwork: runtime.sandboxes.some(({ hostNetwork }) => hostNetwork),
    },
  };
}

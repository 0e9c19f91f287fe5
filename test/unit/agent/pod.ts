import type { Container, Pod, Volume } from '../../../src/kube/types.ts';

/** A pod for tables of cases: only what the case says, the rest minimal. */
export function podOf(
  spec: Partial<Pod['spec']> & { containers?: Partial<Container>[] } = {},
  metadata: Partial<Pod['metadata']> = {},
): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: 'web',
      namespace: 'default',
      uid: 'uid-1',
      resourceVersion: '1',
      creationTimestamp: '2026-01-01T00:00:00Z',
      ...metadata,
    },
    spec: { containers: [{ name: 'app', image: 'busybox' }], ...spec },
  } as Pod;
}

/** Volumes, and a container that mounts each. */
export function mounting(volumes: Volume[]): Pick<Pod['spec'], 'volumes' | 'containers'> {
  const volumeMounts = volumes.map(({ name }) => ({ name, mountPath: `/${name}` }));
  return { volumes, containers: [{ name: 'app', image: 'busybox', volumeMounts }] };
}

/** `resources('100m/200m', '64Mi/128Mi')`: request/limit; a missing part is not set. */
export function resources(cpu = '', memory = '') {
  const [cpuRequest, cpuLimit] = cpu.split('/');
  const [memoryRequest, memoryLimit] = memory.split('/');
  const list = (one?: string, other?: string) => ({ ...(one && { cpu: one }), ...(other && { memory: other }) });
  return { requests: list(cpuRequest, memoryRequest), limits: list(cpuLimit, memoryLimit) };
}

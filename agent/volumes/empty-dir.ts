import { chmod, chown, mkdir } from 'node:fs/promises';
import { parseQuantity } from '../../src/kube/quantity.ts';
import type { Pod } from '../../src/kube/types.ts';
import { isMountPoint, type mountFileSystem } from '../../src/linux/mounts.ts';
import type { PodResources } from '../pods/ports.ts';
import type { VolumePlugin } from './plugin.ts';

export interface EmptyDirDependencies {
  resources: Pick<PodResources, 'nodeAllocatable'>;
  mount: typeof mountFileSystem;
}

const PLUGIN = 'kubernetes.io/empty-dir';

/** Scratch space of a pod: a directory on the node's disk or a tmpfs. */
export function createEmptyDirPlugin({ resources, mount }: EmptyDirDependencies): VolumePlugin {
  return {
    kind: 'emptyDir',
    refreshes: false,
    directories: [PLUGIN],
    async setUp({ pod, volume, directory }) {
      const { medium = '', sizeLimit } = volume.emptyDir ?? {};
      if (medium !== '' && medium !== 'Memory') throw new Error(`emptyDir medium ${medium} is not supported yet`);
      const path = directory(PLUGIN);
      await mkdir(path, { recursive: true, mode: 0o750 });
      if (medium === 'Memory' && !isMountPoint(path)) {
        const bytes = memoryVolumeBytes(pod, sizeLimit, resources.nodeAllocatable().memoryBytes);
        mount({ source: 'tmpfs', target: path, type: 'tmpfs', data: `size=${bytes}` });
      }
      const { fsGroup } = pod.spec.securityContext ?? {};
      if (fsGroup !== undefined) await chown(path, 0, fsGroup);
      await chmod(path, fsGroup === undefined ? 0o777 : 0o2777);
      return { hostPath: path, readOnly: false, agentOwned: false };
    },
  };
}

/** The least of the volume's limit, the pod's memory limit (when all containers have one) and the node's memory. */
function memoryVolumeBytes(pod: Pod, sizeLimit: string | undefined, allocatableBytes: number): number {
  const bounds = [allocatableBytes];
  if (sizeLimit) bounds.push(Number(parseQuantity(sizeLimit).value));
  const limits = pod.spec.containers.map(({ resources }) => resources?.limits?.['memory']);
  if (limits.every((limit) => limit !== undefined))
    bounds.push(limits.reduce((sum, limit) => sum + Number(parseQuantity(limit!).value), 0));
  return Math.min(...bounds.filter((bytes) => bytes > 0));
}

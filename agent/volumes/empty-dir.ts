import { chmod, chown, mkdir } from 'node:fs/promises';
import { parseQuantity } from '../../src/kube/quantity.ts';
import type { EmptyDirVolumeSource, Pod } from '../../src/kube/types.ts';
import { isMountPoint, type mountFileSystem } from '../../src/linux/mounts.ts';
import type { PodResources } from '../pods/resource-ports.ts';
import { allLimit, podLimits } from '../resources/requests.ts';
import type { VolumePlugin } from './plugin.ts';
import { ensureTmpfs } from './tmpfs.ts';

export interface EmptyDirDependencies {
  resources: Pick<PodResources, 'nodeAllocatable'>;
  mount: typeof mountFileSystem;
}

const PLUGIN = 'kubernetes.io/empty-dir';

/** Scratch space of a pod: a directory on the node's disk, a tmpfs or huge pages. A disk's sizeLimit is for eviction to hold. */
export function createEmptyDirPlugin({ resources, mount }: EmptyDirDependencies): VolumePlugin {
  return {
    kind: 'emptyDir',
    refreshes: false,
    directories: [PLUGIN],
    async setUp({ pod, volume, directory }) {
      const { medium = '', sizeLimit } = volume.emptyDir ?? {};
      const path = directory(PLUGIN);
      const pageBytes = medium.startsWith('HugePages') ? hugePageBytes(pod, medium) : undefined;
      if (pageBytes === undefined && medium !== '' && medium !== 'Memory')
        throw new Error(`unknown storage medium "${medium}"`);
      await mkdir(path, { recursive: true, mode: 0o750 });
      if (medium === 'Memory')
        ensureTmpfs(mount, path, `size=${memoryBytes(pod, sizeLimit, resources.nodeAllocatable().memoryBytes)}`);
      if (pageBytes !== undefined && !isMountPoint(path))
        mount({ source: 'nodev', target: path, type: 'hugetlbfs', data: `pagesize=${pageBytes}` });
      const { fsGroup } = pod.spec.securityContext ?? {};
      if (fsGroup !== undefined) await chown(path, 0, fsGroup);
      await chmod(path, fsGroup === undefined ? 0o777 : 0o2777);
      return { hostPath: path, readOnly: false, agentOwned: false };
    },
  };
}

/** Size of a tmpfs: the least of the volume's limit, the pod's memory limit and what the node has for pods. */
export function memoryBytes(pod: Pod, sizeLimit: EmptyDirVolumeSource['sizeLimit'], allocatableBytes: number): number {
  const bounds = [allocatableBytes];
  if (sizeLimit) bounds.push(Number(parseQuantity(sizeLimit).value));
  if (allLimit(pod, 'memory')) bounds.push(podLimits(pod)['memory'] ?? 0);
  return Math.min(...bounds.filter((bytes) => bytes > 0));
}

/** Bytes of one page: the medium's own (`HugePages-2Mi`), which the pod must request too, else the only one that it requests. */
export function hugePageBytes(pod: Pod, medium: string): number {
  const sizes = new Set<number>();
  for (const { resources } of [...pod.spec.containers, ...(pod.spec.initContainers ?? [])])
    for (const name of Object.keys({ ...resources?.limits, ...resources?.requests }))
      if (name.startsWith('hugepages-')) sizes.add(Number(parseQuantity(name.slice('hugepages-'.length)).value));
  const [, own] = medium.split('-');
  const wanted =
    own === undefined ? sizes : new Set([Number(parseQuantity(own).value)].filter((size) => sizes.has(size)));
  if (wanted.size > 1)
    throw new Error(`medium: ${medium} can't be used if container requests multiple huge page sizes`);
  const [size] = wanted;
  if (size === undefined)
    throw new Error(`medium ${medium}: hugePages storage requested, but there is no resource request for huge pages`);
  return size;
}

import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { csiNodes } from '../../../src/kube/resources.ts';
import type { KubeObject, Pod, Volume } from '../../../src/kube/types.ts';
import { startCsiDriver } from '../../support/csi-driver.ts';
import { eventually } from '../../support/eventually.ts';
import { createScene, podWith } from './scene.ts';
import { createStorageLife, NODE } from './storage-life.ts';

export const DRIVER = 'test.csi.example';
export const HANDLE = 'disk-1';
export const meta = (name: string, rest: object = {}) =>
  ({
    name,
    uid: `uid-${name}`,
    resourceVersion: '1',
    creationTimestamp: '2026-01-01T00:00:00Z',
    ...rest,
  }) as KubeObject['metadata'];

export function driverObject(spec: object = {}): KubeObject {
  return { kind: 'CSIDriver', metadata: meta(DRIVER), spec: { attachRequired: false, ...spec } } as KubeObject;
}

export function boundVolume(spec: object = {}, csi: object = {}): KubeObject[] {
  const volume = {
    kind: 'PersistentVolume',
    metadata: meta('pv-1'),
    spec: {
      capacity: { storage: '1Gi' },
      accessModes: ['ReadWriteOnce'],
      csi: { driver: DRIVER, volumeHandle: HANDLE, volumeAttributes: { colour: 'blue' }, ...csi },
      claimRef: { namespace: 'default', name: 'data', uid: 'uid-data' },
      ...spec,
    },
    status: { phase: 'Bound' },
  };
  const claim = {
    kind: 'PersistentVolumeClaim',
    metadata: meta('data', { namespace: 'default' }),
    spec: { accessModes: ['ReadWriteOnce'], volumeName: 'pv-1' },
    status: { phase: 'Bound' },
  };
  return [volume, claim] as KubeObject[];
}

export const CLAIMED: Volume = { name: 'data', persistentVolumeClaim: { claimName: 'data' } };

export function podOf(uid: string, volumes: Volume[] = [CLAIMED], spec: Partial<Pod['spec']> = {}): Pod {
  const pod = podWith(volumes, { serviceAccountName: 'default', ...spec });
  return { ...pod, metadata: { ...pod.metadata, uid, name: `web-${uid}` } };
}

/** A node with a running driver; lives of its agent are made by `ready`. */
export async function createNode(t: ExecutionContext, options: Parameters<typeof startCsiDriver>[2] = {}) {
  const scene = await createScene(t);
  const rootDir = join(scene.base, 'root');
  const driver = await startCsiDriver(scene.base, rootDir, options);
  t.teardown(() => driver.stop());
  const life = (objects: KubeObject[]) => {
    const made = createStorageLife(rootDir, objects);
    made.start();
    t.teardown(made.stop);
    return made;
  };
  /** Once the driver is known. */
  const ready = async (objects: KubeObject[]) => {
    const made = life(objects);
    await eventually('the driver registers', () => (made.client.peek(csiNodes, NODE)?.spec.drivers.length ?? 0) > 0);
    return made;
  };
  const mounts = () =>
    scene
      .mountsBelow(rootDir)
      .map(({ target }) => target.slice(rootDir.length + 1))
      .sort();
  const hostPathOf = async (made: Awaited<ReturnType<typeof ready>>, pod: Pod) =>
    (await made.volumes.ensure(pod)).get(pod.spec.volumes![0]!.name)!.hostPath;
  return { ...scene, rootDir, driver, life, ready, mounts, hostPathOf };
}

/** A life of the agent's volumes in a process of its own, to be killed: sets up the volumes of one pod and takes them down again. Argument: JSON of rootDir, objects, pod. */
import type { KubeObject, Pod } from '../../../src/kube/types.ts';
import { createStorageLife } from './storage-life.ts';

const { rootDir, objects, pod } = JSON.parse(process.argv[2]!) as { rootDir: string; objects: KubeObject[]; pod: Pod };
const life = createStorageLife(rootDir, objects);
life.start();
for (;;) {
  try {
    await life.volumes.ensure(pod);
    break;
  } catch {
    // The driver is about to register.
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
await life.volumes.remove(pod.metadata.uid, pod);

import { createStorage } from '../../../agent/volumes/persistent/storage.ts';
import { createPodDirectories } from '../../../agent/volumes/pod-directories.ts';
import { createVolumes } from '../../../agent/volumes/volumes.ts';
import { createInformerSet } from '../../../src/kube/informer.ts';
import {
  csiDrivers,
  nodes,
  persistentVolumeClaims,
  persistentVolumes,
  type Resource,
  secrets,
  volumeAttachments,
} from '../../../src/kube/resources.ts';
import type { KubeObject } from '../../../src/kube/types.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { Registry } from '../../../src/runtime/metrics.ts';
import { createFakeKubeClient } from '../../fakes/kube-client.ts';

export const NODE = 'node-1';
const RESOURCES = [persistentVolumes, persistentVolumeClaims, csiDrivers, volumeAttachments, secrets] as Resource[];

/** One life of an agent's volumes over a root directory; the API has these objects (`kind` says what they are). */
export function createStorageLife(rootDir: string, objects: readonly KubeObject[]) {
  const clock = systemClock;
  const log = silentLogger;
  const client = createFakeKubeClient(clock);
  client.seed(nodes, { metadata: { name: NODE, labels: { 'kubernetes.io/hostname': NODE } }, spec: {} });
  const seed = (object: KubeObject) =>
    client.seed(RESOURCES.find(({ kind }) => kind === object.kind)!, structuredClone(object));
  for (const object of objects) seed(object);
  const informers = createInformerSet(client, { log, clock });
  const token = `e.${Buffer.from(JSON.stringify({ exp: 1_800_000_000 })).toString('base64url')}.s`;
  const registry = new Registry();
  const storage = createStorage(
    { nodeName: NODE, rootDir },
    {
      client,
      informers,
      registry,
      tokens: { token: async () => token, forget() {} },
      nodeLabels: () => ({ 'kubernetes.io/hostname': NODE }),
      clock,
      log,
    },
  );
  const events: string[] = [];
  const directories = createPodDirectories(rootDir);
  const volumes = createVolumes({
    directories,
    resources: { nodeAllocatable: () => ({ cpuMillis: 1000, memoryBytes: 2 ** 30, ephemeralStorageBytes: 2 ** 30 }) },
    events: { event: (_, type, reason, message) => events.push(`${type} ${reason} ${message}`) },
    log,
    volumePlugins: storage.plugins,
  });
  const stop = new AbortController();
  let running: Promise<unknown> = Promise.resolve();
  return {
    client,
    seed,
    storage,
    registry,
    volumes,
    directories,
    events,
    token,
    start() {
      running = Promise.all([storage.run(stop.signal), informers.run(stop.signal)]);
    },
    async stop() {
      stop.abort();
      await running;
    },
  };
}

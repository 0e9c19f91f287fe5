/**
 * 30 pods at once against 60 containers by the Docker API, as many at a time as the agent starts at once; in turn, in one run. Then the
 * all-in-one process's memory and CPU with those 30 pods idle.
 *
 *     .toolchain/bin/node test/bench/pod-burst.ts [--pod-runtime none]     # 2 minutes
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectDocker } from '../../src/docker/connect.ts';
import type { DockerEngine } from '../../src/docker/engine.ts';
import { createKubeClient, type KubeClient } from '../../src/kube/client.ts';
import { loadKubeconfig } from '../../src/kube/kubeconfig.ts';
import { configMaps, pods } from '../../src/kube/resources.ts';
import { floorPair, realPod } from './pods.ts';
import {
  benchInCluster,
  cpuSeconds,
  isReady,
  line,
  removePods,
  rssMebibytes,
  say,
  summarize,
  watchPods,
} from './support.ts';

const BATCH = 30;
/** One pair tells little on a machine with anything else to do. */
const ROUNDS = 4;
/** As many starts at once as the agent allows itself on two cores. */
const CONCURRENCY = 4;
const NAMES = Array.from({ length: BATCH }, (_, index) => `batch-${index}`);

await benchInCluster(import.meta.filename, inside);

async function inside(): Promise<void> {
  const docker = connectDocker('unix:///run/berth/docker.sock');
  const client = createKubeClient(loadKubeconfig('/var/lib/berth/kubeconfig', { userAgent: 'bench' }));
  await client.create(
    configMaps,
    { metadata: { name: 'settings' }, data: { mode: 'bench' } },
    { namespace: 'default' },
  );
  await sleep(3000);
  const containers: number[] = [];
  const batch: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    if (round > 0) await removePods(client, docker, NAMES);
    containers.push(await floorBatch(docker));
    batch.push(await podBatch(client));
  }
  say(line(`${2 * BATCH} containers by the Docker API, ${CONCURRENCY} at a time`, containers));
  say(line(`${BATCH} pods at once → all Ready`, batch));
  say(`ratio of the medians: ${(summarize(batch).p50 / summarize(containers).p50).toFixed(2)}`);

  await sleep(20_000);
  const pid = Number(readFileSync('/run/berth/berth.pid', 'utf8'));
  const before = cpuSeconds(pid);
  await sleep(30_000);
  const percent = ((cpuSeconds(pid) - before) / 30) * 100;
  say(`idle with ${BATCH} pods: RSS ${rssMebibytes(pid).toFixed(0)} MiB, CPU ${percent.toFixed(1)} % of a core`);
  await client.close();
  docker.close();
}

async function floorBatch(docker: DockerEngine): Promise<number> {
  const started = performance.now();
  const waiting = NAMES.map((name) => `floor-${name}`);
  const made: string[] = [];
  await Promise.all(
    Array.from({ length: CONCURRENCY }, async () => {
      for (let name = waiting.shift(); name !== undefined; name = waiting.shift())
        made.push(...(await floorPair(docker, name)));
    }),
  );
  const took = performance.now() - started;
  for (const id of made) await docker.removeContainer(id, { force: true });
  return took;
}

async function podBatch(client: KubeClient): Promise<number> {
  const watch = await watchPods(client);
  const ready = new Set<string>();
  const all = watch.first((pod) => isReady(pod) && ready.add(pod.metadata.name).size === BATCH);
  await sleep(50);
  const started = performance.now();
  await Promise.all(NAMES.map((name) => client.create(pods, realPod(name), { namespace: 'default' })));
  return (await all) - started;
}

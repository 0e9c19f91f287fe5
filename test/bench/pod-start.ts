/**
 * Pod start against Docker's floor, paired in one run on the same dockerd.
 *
 *   floor   create + start of a pause container, create + start of an app container beside it, by the Docker API
 *   berth   POST of a Pod to the API server → the Ready condition seen by a watch; with a ConfigMap volume and a projected volume of a
 *           bound service account token, as real pods have
 *
 * Each iteration measures one of each, in turn.
 *
 *     .toolchain/bin/node test/bench/pod-start.ts [--pod-runtime none]     # 2–3 minutes
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { connectDocker } from '../../src/docker/connect.ts';
import type { DockerEngine } from '../../src/docker/engine.ts';
import { createKubeClient, type KubeClient } from '../../src/kube/client.ts';
import { loadKubeconfig } from '../../src/kube/kubeconfig.ts';
import { configMaps, pods } from '../../src/kube/resources.ts';
import { floorPair, realPod } from './pods.ts';
import { benchInCluster, isReady, line, removePods, say, summarize, watchPods } from './support.ts';

const ITERATIONS = 100;

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
  const floor: number[] = [];
  const pod: number[] = [];
  for (let i = -3; i < ITERATIONS; i++) {
    const one = await floorOnce(docker, `floor-${i + 3}`);
    const other = await podOnce(client, docker, `bench-${i + 3}`);
    if (i < 0) continue;
    floor.push(one);
    pod.push(other);
  }
  say(line('Docker floor (pause + app)', floor));
  say(line('pod create → Ready', pod));
  const [docked, kubed] = [summarize(floor), summarize(pod)];
  say(`ratios: p50 ${(kubed.p50 / docked.p50).toFixed(2)}, p99 ${(kubed.p99 / docked.p99).toFixed(2)}`);
  await client.close();
  docker.close();
}

async function floorOnce(docker: DockerEngine, name: string): Promise<number> {
  const started = performance.now();
  const ids = await floorPair(docker, name);
  const took = performance.now() - started;
  for (const id of ids) await docker.removeContainer(id, { force: true });
  return took;
}

async function podOnce(client: KubeClient, docker: DockerEngine, name: string): Promise<number> {
  const watch = await watchPods(client, `metadata.name=${name}`);
  const ready = watch.first(isReady);
  await sleep(30);
  const started = performance.now();
  await client.create(pods, realPod(name), { namespace: 'default' });
  const took = (await ready) - started;
  await removePods(client, docker, [name]);
  return took;
}

/**
 * Pod start against Docker's floor, paired in one run on the same dockerd.
 *
 *   floor   create + start of a pause container, create + start of an app container beside it, by the Docker API
 *   berth   POST of a Pod to the API server → the Ready condition seen by a watch
 *
 * Each iteration measures one of each, in turn. Then 30 pods at once against 60 containers by the Docker API, 8 at a time, three
 * times in turn, and the all-in-one process's memory and CPU with those 30 pods idle.
 *
 *     .toolchain/bin/node test/bench/pod-start.ts
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectDocker } from '../../src/docker/connect.ts';
import type { DockerEngine } from '../../src/docker/engine.ts';
import { createKubeClient, type KubeClient } from '../../src/kube/client.ts';
import { loadKubeconfig } from '../../src/kube/kubeconfig.ts';
import { pods } from '../../src/kube/resources.ts';
import type { Pod } from '../../src/kube/types.ts';
import { berth, continueInside, line, summarize, withHost } from './support.ts';

const ITERATIONS = 20;
const BATCH = 30;
/** One pair tells little on a machine with anything else to do. */
const BATCH_ROUNDS = 3;
/** As many starts at once as the agent allows itself on two cores. */
const CONCURRENCY = 4;
const IMAGE = 'berth/busybox:1';
const PAUSE = 'berth/pause:1';
const COMMAND = ['sleep', '3600'];

if (process.argv[2] === 'inside') await inside();
else {
  await withHost('bench', async (host) => {
    await berth(host, 'up');
    await berth(host, 'demo');
    await berth(host, 'demo', '--remove');
    await continueInside(host, import.meta.filename);
    await berth(host, 'down');
  });
}

async function inside(): Promise<void> {
  const docker = connectDocker('unix:///run/berth/docker.sock');
  const client = createKubeClient(loadKubeconfig('/var/lib/berth/kubeconfig', { userAgent: 'bench' }));
  await sleep(3000);
  const floor: number[] = [];
  const pod: number[] = [];
  for (let i = -2; i < ITERATIONS; i++) {
    const one = await floorOnce(docker, `floor-${i + 2}`);
    const other = await podOnce(client, `bench-${i + 2}`);
    if (i < 0) continue;
    floor.push(one);
    pod.push(other);
  }
  say(line('Docker floor (pause + app)', floor));
  say(line('pod create → Ready', pod));
  say(`ratio of the medians: ${(summarize(pod).p50 / summarize(floor).p50).toFixed(2)}`);
  await untilNone(client);

  const containers: number[] = [];
  const batch: number[] = [];
  for (let round = 0; round < BATCH_ROUNDS; round++) {
    if (round > 0) await deleteBatch(client);
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
  say(
    `idle with ${BATCH} pods: RSS ${rssMebibytes(pid).toFixed(0)} MiB, CPU ${(((cpuSeconds(pid) - before) / 30) * 100).toFixed(1)} % of a core`,
  );
  await client.close();
  docker.close();
}

async function floorOnce(docker: DockerEngine, name: string): Promise<number> {
  const started = performance.now();
  const ids = await containerPair(docker, name);
  const took = performance.now() - started;
  for (const id of ids) await docker.removeContainer(id, { force: true });
  return took;
}

async function containerPair(docker: DockerEngine, name: string): Promise<string[]> {
  const pause = await docker.createContainer(`${name}-pause`, {
    Image: PAUSE,
    HostConfig: { NetworkMode: 'none', IpcMode: 'shareable' },
  });
  await docker.startContainer(pause.id);
  const shared = `container:${pause.id}`;
  const app = await docker.createContainer(`${name}-app`, {
    Image: IMAGE,
    Entrypoint: COMMAND,
    HostConfig: { NetworkMode: shared, IpcMode: shared },
  });
  await docker.startContainer(app.id);
  return [app.id, pause.id];
}

async function podOnce(client: KubeClient, name: string): Promise<number> {
  const { metadata } = await client.list(pods, { namespace: 'default' });
  const stop = new AbortController();
  const events = client.watch(pods, {
    namespace: 'default',
    fieldSelector: `metadata.name=${name}`,
    resourceVersion: metadata.resourceVersion ?? '',
    signal: stop.signal,
  });
  const ready = (async () => {
    for await (const event of events)
      if (event.type !== 'BOOKMARK' && isReady(event.object as Pod)) return performance.now();
    throw new Error('the watch ended');
  })();
  await sleep(30);
  const started = performance.now();
  await client.create(pods, podDraft(name), { namespace: 'default' });
  const took = (await ready) - started;
  stop.abort();
  await client.delete(pods, { namespace: 'default', name, gracePeriodSeconds: 0 });
  await untilNone(client);
  return took;
}

function podDraft(name: string) {
  return {
    metadata: { name, labels: { app: 'bench' } },
    spec: { terminationGracePeriodSeconds: 0, containers: [{ name: 'app', image: IMAGE, command: COMMAND }] },
  };
}

function isReady(pod: Pod): boolean {
  return (
    pod.status?.conditions?.some((condition) => condition.type === 'Ready' && condition.status === 'True') ?? false
  );
}

async function untilNone(client: KubeClient): Promise<void> {
  while ((await client.list(pods, { namespace: 'default', labelSelector: 'app=bench' })).items.length > 0)
    await sleep(100);
  await sleep(300);
}

async function floorBatch(docker: DockerEngine): Promise<number> {
  const started = performance.now();
  const waiting = Array.from({ length: BATCH }, (_, index) => index);
  const made: string[] = [];
  await Promise.all(
    Array.from({ length: CONCURRENCY }, async () => {
      for (let index = waiting.shift(); index !== undefined; index = waiting.shift())
        made.push(...(await containerPair(docker, `batch-${index}`)));
    }),
  );
  const took = performance.now() - started;
  for (const id of made) await docker.removeContainer(id, { force: true });
  return took;
}

async function podBatch(client: KubeClient): Promise<number> {
  const { metadata } = await client.list(pods, { namespace: 'default' });
  const stop = new AbortController();
  const events = client.watch(pods, {
    namespace: 'default',
    resourceVersion: metadata.resourceVersion ?? '',
    signal: stop.signal,
  });
  const done = (async () => {
    const ready = new Set<string>();
    for await (const event of events) {
      if (event.type !== 'BOOKMARK' && isReady(event.object as Pod)) ready.add((event.object as Pod).metadata.name);
      if (ready.size === BATCH) return performance.now();
    }
    throw new Error('the watch ended');
  })();
  await sleep(50);
  const started = performance.now();
  await Promise.all(
    Array.from({ length: BATCH }, (_, index) =>
      client.create(pods, podDraft(`batch-${index}`), { namespace: 'default' }),
    ),
  );
  const took = (await done) - started;
  stop.abort();
  return took;
}

async function deleteBatch(client: KubeClient): Promise<void> {
  const { items } = await client.list(pods, { namespace: 'default', labelSelector: 'app=bench' });
  await Promise.all(
    items.map(({ metadata: { name } }) => client.delete(pods, { namespace: 'default', name, gracePeriodSeconds: 0 })),
  );
  await untilNone(client);
}

function rssMebibytes(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
}

/** User and system time, in seconds; clock ticks are 1/100 s on Linux. */
function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

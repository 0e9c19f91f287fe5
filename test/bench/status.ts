/**
 * How soon what happens to a container is known, and acted on.
 *
 *   exit      the container's process is killed → the Engine's own `die` event → a watch of the API sees it terminated
 *   restart   the process of a container is killed for the first time (no back-off yet) → `die` → the Engine's `start` of the next one
 *   floor     create + start of such a container by the Docker API, in turn with the restarts
 *
 *     .toolchain/bin/node test/bench/status.ts     # 1–2 minutes
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { connectDocker } from '../../src/docker/connect.ts';
import type { ContainerEvent, DockerEngine } from '../../src/docker/engine.ts';
import { createKubeClient, type KubeClient } from '../../src/kube/client.ts';
import { loadKubeconfig } from '../../src/kube/kubeconfig.ts';
import { pods } from '../../src/kube/resources.ts';
import { floorPair } from './pods.ts';
import { benchInCluster, IMAGE, isReady, line, PATIENT, removePods, say, summarize, watchPods } from './support.ts';

const ITERATIONS = 30;

await benchInCluster(import.meta.filename, inside);

async function inside(): Promise<void> {
  const docker = connectDocker('unix:///run/berth/docker.sock');
  const client = createKubeClient(loadKubeconfig('/var/lib/berth/kubeconfig', { userAgent: 'bench' }));
  const events = followEvents(docker);
  await sleep(3000);
  const died: number[] = [];
  const seen: number[] = [];
  const sinceDied: number[] = [];
  const restarted: number[] = [];
  const floor: number[] = [];
  for (let i = -2; i < ITERATIONS; i++) {
    const exit = await exitOnce(client, docker, events, `exit-${i + 2}`);
    const restart = await restartOnce(client, docker, events, `restart-${i + 2}`);
    const least = await floorOnce(docker, `floor-${i + 2}`);
    if (i < 0) continue;
    died.push(exit.diedMs);
    seen.push(exit.seenMs);
    sinceDied.push(exit.seenMs - exit.diedMs);
    restarted.push(restart);
    floor.push(least);
  }
  say(line('exit → die event of the Engine', died));
  say(line('exit → terminated, seen by a watch', seen));
  say(line('die event → terminated, seen by a watch', sinceDied));
  say(line('die event → start event of the next run', restarted));
  say(line('floor: create + start of such a container', floor));
  say(`restart over its floor: ${(summarize(restarted).p50 - summarize(floor).p50).toFixed(1)} ms at the median`);
  events.stop();
  await client.close();
  docker.close();
}

interface Events {
  /** Resolves to the moment when such an event came in. */
  next(holds: (event: ContainerEvent) => boolean): Promise<number>;
  stop(): void;
}

function followEvents(docker: DockerEngine): Events {
  const stop = new AbortController();
  const waiting = new Set<{ holds: (event: ContainerEvent) => boolean; resolve: (atMs: number) => void }>();
  (async () => {
    for await (const event of docker.containerEvents({ actions: ['die', 'start'] }, stop.signal))
      for (const one of waiting)
        if (one.holds(event)) {
          waiting.delete(one);
          one.resolve(performance.now());
        }
  })().catch((error) => {
    if (!stop.signal.aborted) throw error;
  });
  return {
    next: (holds) => new Promise((resolve) => waiting.add({ holds, resolve })),
    stop: () => stop.abort(),
  };
}

async function startPod(client: KubeClient, docker: DockerEngine, name: string, restartPolicy: 'Always' | 'Never') {
  const watch = await watchPods(client, `metadata.name=${name}`);
  const ready = watch.first(isReady);
  await client.create(
    pods,
    { metadata: { name }, spec: { restartPolicy, containers: [{ name: 'app', image: IMAGE, command: PATIENT }] } },
    { namespace: 'default' },
  );
  await ready;
  const pod = await client.get(pods, { namespace: 'default', name });
  const id = pod.status!.containerStatuses![0]!.containerID!.replace('docker://', '');
  const { pid } = await docker.inspectContainer(id);
  // What the start left to do (status, events, endpoints) is not what is measured.
  await sleep(200);
  return { id, pid: pid! };
}

async function exitOnce(client: KubeClient, docker: DockerEngine, events: Events, name: string) {
  const { id, pid } = await startPod(client, docker, name, 'Never');
  const watch = await watchPods(client, `metadata.name=${name}`);
  const terminated = watch.first((pod) => pod.status?.containerStatuses?.[0]?.state?.terminated !== undefined);
  const die = events.next((event) => event.id === id && event.action === 'die');
  await sleep(30);
  const started = performance.now();
  process.kill(pid, 'SIGKILL');
  const [diedAtMs, seenAtMs] = await Promise.all([die, terminated]);
  await removePods(client, docker, [name]);
  return { diedMs: diedAtMs - started, seenMs: seenAtMs - started };
}

async function restartOnce(client: KubeClient, docker: DockerEngine, events: Events, name: string): Promise<number> {
  const { id, pid } = await startPod(client, docker, name, 'Always');
  const die = events.next((event) => event.id === id && event.action === 'die');
  const start = events.next(
    (event) =>
      event.action === 'start' &&
      event.id !== id &&
      event.attributes['io.kubernetes.pod.name'] === name &&
      event.attributes['io.kubernetes.container.name'] === 'app',
  );
  process.kill(pid, 'SIGKILL');
  const [diedAtMs, startedAtMs] = await Promise.all([die, start]);
  await sleep(200);
  await removePods(client, docker, [name]);
  return startedAtMs - diedAtMs;
}

async function floorOnce(docker: DockerEngine, name: string): Promise<number> {
  const [app, pause] = await floorPair(docker, name);
  const shared = `container:${pause}`;
  const started = performance.now();
  const next = await docker.createContainer(`${name}-next`, {
    Image: IMAGE,
    Entrypoint: PATIENT,
    HostConfig: { NetworkMode: shared, IpcMode: shared },
  });
  await docker.startContainer(next.id);
  const took = performance.now() - started;
  for (const id of [next.id, app, pause]) await docker.removeContainer(id, { force: true });
  return took;
}

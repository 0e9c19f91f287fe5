/**
 * R6: pods come and go on a whole agent; what its heap holds afterwards. `node --expose-gc churn-child.ts <pods before> <pods> [quiet]` prints a
 * ChurnReport.
 * `quiet`: without the recorder of events.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { configMaps, pods } from '../../src/kube/resources.ts';
import type { Draft, Pod } from '../../src/kube/types.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { heapHistogram } from './heap-histogram.ts';
import { startWholeAgent } from './whole-agent.ts';

export interface ChurnReport {
  pods: number;
  /** The heap, collected, after the first pods and after all the others. */
  bytesBefore: number;
  bytesAfter: number;
  /** Sorts of objects of which one more is there for every second pod that is long gone, or for each, and how many more. */
  left: [sort: string, more: number][];
}

const AT_ONCE = 100;
/** Generous: what hangs, hangs for ever, and a busy machine is slow. */
const BATCH_TIMEOUT_MS = 180_000;

const [first, then, quiet] = process.argv.slice(2);
const [podsBefore, podsAfter] = [Number(first), Number(then)];
const node = await startWholeAgent(systemClock, {
  options: { maxParallelStarts: AT_ONCE },
  ...(quiet && { events: { event() {}, async flush() {} } }),
});
node.client.seed(configMaps, {
  metadata: { name: 'settings', namespace: 'default' },
  data: { color: 'blue' },
} as never);

const podOf = (name: string): Draft<Pod> => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'default', labels: { app: 'churn' } },
  spec: {
    nodeName: 'node-1',
    terminationGracePeriodSeconds: 1,
    dnsPolicy: 'Default',
    volumes: [
      { name: 'settings', configMap: { name: 'settings' } },
      { name: 'scratch', emptyDir: {} },
    ],
    containers: [
      {
        name: 'app',
        image: 'busybox:1',
        command: ['sleep', '1000'],
        env: [{ name: 'COLOR', valueFrom: { configMapKeyRef: { name: 'settings', key: 'color' } } }],
        volumeMounts: [
          { name: 'settings', mountPath: '/settings' },
          { name: 'scratch', mountPath: '/scratch' },
        ],
        readinessProbe: { exec: { command: ['true'] }, periodSeconds: 1 },
        lifecycle: { preStop: { exec: { command: ['true'] } } },
      },
    ],
  },
});

async function until(what: string, check: () => boolean): Promise<void> {
  const deadline = performance.now() + BATCH_TIMEOUT_MS;
  while (!check()) {
    if (performance.now() > deadline) throw new Error(`not within ${BATCH_TIMEOUT_MS} ms: ${what}; ${describe()}`);
    await sleep(5);
  }
}

/** Who holds things up. */
function describe(): string {
  const states = Map.groupBy(node.agent.workers.list(), ({ state }) => state);
  const workers = [...states].map(([state, works]) => `${works.length} ${state}`);
  return `${node.client.all(pods).length} pods, ${node.docker.containers.size} containers, workers: ${workers.join(', ')}`;
}

const isReady = ({ status }: Pod) =>
  status?.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True');

async function churn(from: number, count: number): Promise<void> {
  for (let first = from; first < from + count; first += AT_ONCE) {
    const names = Array.from(
      { length: Math.min(AT_ONCE, from + count - first) },
      (_, index) => `churn-${first + index}`,
    );
    for (const name of names) await node.client.create(pods, podOf(name));
    await until('ready', () => node.client.all(pods).every(isReady));
    for (const name of names) await node.client.delete(pods, { namespace: 'default', name });
    await until(
      'gone',
      () => node.client.all(pods).length + node.docker.containers.size + node.agent.workers.list().length === 0,
    );
    // What the fakes remember is none of the agent's.
    node.docker.calls.length = 0;
    node.client.writes.length = 0;
    node.client.forgetEvents();
  }
}

/** The recorder remembers what it told of the last 4096 objects; that it does so is no leak. */
async function fillRecorder(): Promise<void> {
  for (let index = 0; index < 4_200; index++) {
    const name = `earlier-${index}`;
    node.events.event(
      { apiVersion: 'v1', kind: 'Pod', namespace: 'default', name, uid: name },
      'Normal',
      'Earlier',
      name,
    );
    // More than a thousand that wait are dropped.
    if (index % 100 === 0) await node.events.flush();
  }
  node.client.forgetEvents();
}

/** Collected until nothing more goes: finalizers and weak references take a round each. */
async function heap(): Promise<{ bytes: number; objects: Buffer }> {
  // A thousand of them may wait for their turn.
  await node.events.flush();
  let bytes = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 5; round++) {
    await sleep(200);
    gc!();
    bytes = Math.min(bytes, process.memoryUsage().heapUsed);
  }
  // One object: its thousands of names would be found by the next look.
  return { bytes, objects: Buffer.from(JSON.stringify([...(await heapHistogram())])) };
}

if (!quiet) await fillRecorder();
await churn(0, podsBefore);
// The first look makes objects of its own.
await heap();
const earlier = await heap();
await churn(podsBefore, podsAfter);
const later = await heap();
const [before, after] = [earlier, later].map(({ objects }) => new Map<string, number>(JSON.parse(objects.toString())));
const left = [...after!]
  .map(([sort, count]): [string, number] => [sort, count - (before!.get(sort) ?? 0)])
  // A pod is made of dozens of strings, and code that is compiled meanwhile brings some tens of its own.
  .filter(([sort, count]) => count >= (sort === 'string' ? 2 * podsAfter : podsAfter / 2));
process.stdout.write(
  `${JSON.stringify({ pods: podsAfter, bytesBefore: earlier.bytes, bytesAfter: later.bytes, left } satisfies ChurnReport)}\n`,
);
await node.stop();
process.exit();

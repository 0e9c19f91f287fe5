import test from 'ava';
import type { KubeClient } from '../../../src/kube/client.ts';
import { createInformer } from '../../../src/kube/informer.ts';
import { configMaps } from '../../../src/kube/resources.ts';
import type { ConfigMap } from '../../../src/kube/types.ts';
import { createKeyedQueue } from '../../../src/runtime/keyed-queue.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { createFakeClock, settle } from '../../fakes/clock.ts';

const NODES = 150;
const BIN_MS = 100;

/** Chance of its own for each node, the same at each run. */
function chance(node: number): () => number {
  let state = node + 1;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** The busiest tenth of a second of what came within. */
function busiest(timesMs: number[]): number {
  const bins = new Map<number, number>();
  for (const ms of timesMs) bins.set(Math.floor(ms / BIN_MS), (bins.get(Math.floor(ms / BIN_MS)) ?? 0) + 1);
  return Math.max(0, ...bins.values());
}

for (const [outageMs, title] of [
  [0, 'a server that ends and is there again at once'],
  [20_000, 'a server that is away for twenty seconds'],
] as const)
  test(`no herd: ${NODES} watches come back apart from each other, to ${title}`, async (t) => {
    const clock = createFakeClock();
    let isAway = false;
    const asked: number[] = [];
    const watching = new Set<() => void>();
    const client = {
      list: async () => ({ items: [], metadata: { resourceVersion: '1' } }),
      async *watch(_: unknown, { signal }: { signal: AbortSignal }) {
        asked.push(clock.monotonicMs());
        if (isAway) throw new Error('ECONNREFUSED');
        await new Promise<void>((resolve, reject) => {
          const end = () => reject(new Error('ECONNRESET'));
          watching.add(end);
          signal.addEventListener('abort', () => resolve(), { once: true });
        });
      },
    } as unknown as KubeClient;
    const stop = new AbortController();
    const running = Array.from({ length: NODES }, (_, node) =>
      createInformer<ConfigMap>({ client, resource: configMaps, log: silentLogger, clock, random: chance(node) }).run(
        stop.signal,
      ),
    );
    await settle();
    // They all began together; that is the test's doing.
    await clock.advance(60_000);
    asked.length = 0;
    const end = [...watching];
    watching.clear();
    isAway = outageMs > 0;
    for (const one of end) one();
    const endedMs = clock.monotonicMs();
    if (outageMs > 0) await clock.advance(outageMs);
    isAway = false;
    const returnedMs = clock.monotonicMs();
    await clock.advance(20_000);
    t.is(watching.size, NODES, 'all are back');
    const afterMs = asked.filter((ms) => ms >= returnedMs).map((ms) => ms - returnedMs);
    t.log(
      `away ${outageMs / 1000} s: back within ${(Math.max(...afterMs) / 1000).toFixed(1)} s, the busiest 100 ms had ${busiest(afterMs)} of ${NODES}`,
    );
    // Evenly over a second they would be a tenth.
    t.true(busiest(afterMs) <= NODES / 4, `${busiest(afterMs)} in 100 ms`);
    t.true(Math.max(...afterMs) <= 15_100);
    // While it was away: the busiest moment is the first second of it.
    const during = asked.filter((ms) => ms < returnedMs).map((ms) => ms - endedMs);
    t.true(busiest(during) <= NODES / 3, `${busiest(during)} in 100 ms while it was away`);
    stop.abort();
    await Promise.all(running);
  });

test('no herd: what many queues try again after one failure is spread', async (t) => {
  const clock = createFakeClock();
  const tries: number[] = [];
  const stop = new AbortController();
  const queues = Array.from({ length: NODES }, (_, node) =>
    createKeyedQueue({
      concurrency: 1,
      clock,
      random: chance(node),
      retry: { initialMs: 200, maxMs: 10_000, jitter: 0.5 },
      async process() {
        tries.push(clock.monotonicMs());
        throw new Error('no');
      },
    }),
  );
  const running = queues.map((queue) => queue.run(stop.signal));
  for (const queue of queues) queue.add('pod');
  await settle();
  tries.length = 0;
  await clock.advance(12_000);
  // The sixth try comes about 12 s after the first: those of all nodes are seconds apart.
  const late = tries.filter((ms) => ms > 6_000);
  t.true(busiest(late) <= NODES / 8, `${busiest(late)} in 100 ms`);
  stop.abort();
  await Promise.all(running);
});

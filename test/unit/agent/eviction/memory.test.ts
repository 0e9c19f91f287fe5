import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { holdMemory } from '../../../../agent/eviction/hold-memory.ts';
import {
  availableBytes,
  type MemoryLevel,
  readCgroupLevel,
  readNodeLevel,
} from '../../../../agent/eviction/memory-levels.ts';
import { createMemoryWatch } from '../../../../agent/eviction/memory-watch.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { createFakeClock, settle } from '../../../fakes/clock.ts';
import { GI, MI } from './stats.ts';

function directory(t: { teardown(undo: () => void): void }, files: Record<string, string | number>): string {
  const path = mkdtempSync(join(tmpdir(), 'berth-memory-'));
  t.teardown(() => rmSync(path, { recursive: true }));
  for (const [name, content] of Object.entries(files)) writeFileSync(join(path, name), `${content}\n`);
  return path;
}

const V1 = {
  'memory.usage_in_bytes': 300 * MI,
  'memory.limit_in_bytes': GI,
  'memory.stat': 'cache 5\ninactive_file 1\ntotal_cache 9\ntotal_inactive_file 104857600',
};
const V2 = { 'memory.current': 300 * MI, 'memory.max': GI, 'memory.stat': 'anon 7\ninactive_file 104857600' };

test('the level of a cgroup, v1 and v2', async (t) => {
  const level = { capacityBytes: GI, usageBytes: 300 * MI, inactiveFileBytes: 100 * MI };
  t.deepEqual(await readCgroupLevel(directory(t, V1), 1), level);
  t.deepEqual(await readCgroupLevel(directory(t, V2), 2), level);
  t.is(availableBytes(level), 824 * MI);
});

test('a cgroup without a limit, or that is gone, has no level', async (t) => {
  t.is(await readCgroupLevel(directory(t, { ...V1, 'memory.limit_in_bytes': '9223372036854771712' }), 1), undefined);
  t.is(await readCgroupLevel(directory(t, { ...V2, 'memory.max': 'max' }), 2), undefined);
  t.is(await readCgroupLevel('/nonexistent', 2), undefined);
});

test("the node's level, v1 and v2", async (t) => {
  const meminfo = 'MemTotal: 8388608 kB\nMemFree:  4194304 kB\nInactive(anon): 5 kB\nInactive(file): 102400 kB';
  const proc = directory(t, { meminfo });
  const one = await readNodeLevel(directory(t, V1), 1, proc);
  t.deepEqual(one, { capacityBytes: 8 * GI, usageBytes: 300 * MI, inactiveFileBytes: 100 * MI });
  const two = await readNodeLevel('/nonexistent', 2, proc);
  t.deepEqual(two, { capacityBytes: 8 * GI, usageBytes: 4 * GI, inactiveFileBytes: 100 * MI });
});

function watch(levels: (MemoryLevel | Error | undefined)[]) {
  const clock = createFakeClock();
  const readMs: number[] = [];
  const low: number[] = [];
  const armed: number[] = [];
  const one = {
    name: 'pods',
    threshold: { amount: 100 * MI },
    async read() {
      readMs.push(clock.monotonicMs());
      const level = levels.length > 1 ? levels.shift() : levels[0];
      if (level instanceof Error) throw level;
      return level;
    },
    arm: (usageBytes: number) => {
      armed.push(usageBytes);
    },
  };
  const stop = new AbortController();
  const memory = createMemoryWatch([one], { onLow: () => low.push(clock.monotonicMs()), clock, log: silentLogger });
  const running = memory.run(stop.signal);
  return { clock, readMs, low, armed, memory, stop, running };
}

const having = (available: number): MemoryLevel => ({
  capacityBytes: 20 * GI,
  usageBytes: 20 * GI - available,
  inactiveFileBytes: 0,
});

test('the nearer the threshold, the sooner the next look', async (t) => {
  const { clock, readMs, low, stop, running } = watch([
    having(15 * GI),
    having(100 * MI + GI),
    having(100 * MI + 64 * MI),
    having(100 * MI + 1),
    having(99 * MI),
    having(99 * MI),
  ]);
  await clock.advance(13_200);
  t.deepEqual(readMs.slice(0, 6), [0, 10_000, 11_024, 11_088, 11_113, 12_113]);
  t.deepEqual(low.slice(0, 2), [11_113, 12_113]);
  stop.abort();
  await running;
});

test("the kernel's word makes it look at once, a burst of them only once", async (t) => {
  const { clock, readMs, low, memory, stop, running } = watch([having(15 * GI), having(MI)]);
  await clock.advance(100);
  for (let count = 0; count < 100; count++) memory.check();
  await clock.advance(30);
  t.deepEqual(readMs, [0, 125]);
  t.deepEqual(low, [125]);
  stop.abort();
  await running;
});

test('the kernel is asked for the usage at which the threshold is met, again every 10 s', async (t) => {
  const { clock, armed, stop, running } = watch([
    { capacityBytes: GI, usageBytes: 500 * MI, inactiveFileBytes: 200 * MI },
  ]);
  await settle();
  t.deepEqual(armed, [(1024 - 100 + 200) * MI]);
  await clock.advance(9_900);
  t.is(armed.length, 1);
  await clock.advance(1_000);
  t.is(armed.length, 2);
  stop.abort();
  await running;
});

test('memory that cannot be read, or is not there, is tried again', async (t) => {
  const { clock, readMs, low, stop, running } = watch([new Error('EIO'), undefined, having(0)]);
  await clock.advance(20_000);
  t.deepEqual(readMs.slice(0, 3), [0, 10_000, 20_000]);
  t.is(low.length, 1);
  stop.abort();
  await running;
});

test('a pod that goes is held to what it has, v1 and v2; a lower limit stays', async (t) => {
  const one = directory(t, { ...V1, 'memory.limit_in_bytes': '9223372036854771712' });
  await holdMemory(one, 1);
  t.is(Number(readFileSync(join(one, 'memory.limit_in_bytes'), 'utf8')), 316 * MI);
  const two = directory(t, { ...V2, 'memory.max': 'max' });
  await holdMemory(two, 2);
  t.is(Number(readFileSync(join(two, 'memory.max'), 'utf8')), 316 * MI);
  const lower = directory(t, { ...V2, 'memory.max': 310 * MI });
  await holdMemory(lower, 2);
  t.is(Number(readFileSync(join(lower, 'memory.max'), 'utf8')), 310 * MI);
});

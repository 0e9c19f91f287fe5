import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ExecutionContext } from 'ava';
import { holdMemory } from '../../agent/eviction/hold-memory.ts';
import { createMemoryGuard } from '../../agent/eviction/memory-guard.ts';
import { availableBytes, readCgroupLevel } from '../../agent/eviction/memory-levels.ts';
import { createEventsNotifier, createUsageNotifier } from '../../agent/eviction/memory-notifier.ts';
import { openCgroups } from '../../src/linux/cgroup/cgroups.ts';
import { openKernelEvents } from '../../src/linux/kernel-events.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { silentLogger } from '../../src/runtime/log.ts';

const MIB = 2 ** 20;
const LIMIT = 160 * MIB;
const THRESHOLD = 60 * MIB;

/** A cgroup of the test's own with a memory limit, on the real files of whatever version this kernel has. */
async function limitedCgroup(t: ExecutionContext, name: string) {
  const cgroups = await openCgroups();
  const path = `/berth-test-guard-${name}-${process.pid}`;
  await cgroups.ensure(path, { memoryBytes: LIMIT });
  const directory = join(cgroups.hierarchies.controllers.get('memory')!, path);
  t.teardown(() => cgroups.remove(path));
  return { directory, version: cgroups.version };
}

/** Takes so many MiB in steps of 10, five a second, into one buffer that grows, and keeps them. Few processes: guests start them slowly. */
function fill(directory: string, mib: number): ChildProcess {
  const source = `i=0; while [ $i -lt ${mib / 10} ]; do dd if=/dev/zero bs=1M count=10 2>/dev/null; sleep 0.2; i=$((i+1)); done; sleep 60`;
  const script = `echo $$ >${directory}/cgroup.procs; (${source}) | dd bs=${2 * mib}M iflag=fullblock of=/dev/null 2>/dev/null`;
  return spawn('/bin/sh', ['-c', script], { stdio: 'ignore' });
}

/** The guard tells of low memory close to the threshold, by whatever means this kernel has. */
export async function tellOfGuard(t: ExecutionContext): Promise<void> {
  const { directory, version } = await limitedCgroup(t, 'low');
  const told: number[] = [];
  const guard = createMemoryGuard(
    {
      thresholds: [{ signal: 'allocatableMemory.available', value: { amount: THRESHOLD }, gracePeriodMs: 0 }],
      cgroupVersion: version,
      rootDirectory: directory,
      podsDirectory: directory,
      notifications: true,
    },
    {
      async onLow() {
        told.push(availableBytes((await readCgroupLevel(directory, version))!));
      },
      clock: systemClock,
      log: silentLogger,
    },
  );
  const stop = new AbortController();
  const running = guard.run(stop.signal);
  await sleep(300);
  t.deepEqual(told, [], 'nothing is told while there is enough');
  const child = fill(directory, 120);
  for (let waited = 0; waited < 60_000 && told.length === 0; waited += 20) await sleep(20);
  child.kill('SIGKILL');
  stop.abort();
  // It ends though the kernel has nothing more to tell.
  await running;
  t.true(told.length > 0, 'low memory is told');
  t.true(told[0]! > THRESHOLD / 2, `before half of the threshold is gone (${Math.round(told[0]! / MIB)} MiB left)`);
}

/** The kernel itself tells: v1 of a usage, v2 of a limit that was reached. */
export async function tellOfNotifications(t: ExecutionContext): Promise<void> {
  const { directory, version } = await limitedCgroup(t, 'notified');
  const kernel = openKernelEvents();
  const stop = new AbortController();
  const running = kernel.run(stop.signal);
  const first = Promise.withResolvers<void>();
  let count = 0;
  const onEvent = () => {
    count++;
    first.resolve();
  };
  const notifier =
    version === 1 ? createUsageNotifier(directory, kernel, onEvent) : createEventsNotifier(directory, kernel, onEvent);
  notifier.arm(40 * MIB);
  await sleep(200);
  t.is(count, 0);
  const child = fill(directory, version === 1 ? 60 : 200);
  await Promise.race([first.promise, sleep(60_000, undefined, { ref: false })]);
  t.true(count > 0);
  child.kill('SIGKILL');
  notifier.close();
  stop.abort();
  await running;
  kernel.close();
}

/** A cgroup that is held takes no more than the headroom; its own processes end. */
export async function tellOfHold(t: ExecutionContext): Promise<void> {
  const { directory, version } = await limitedCgroup(t, 'held');
  const child = fill(directory, 140);
  const ended = once(child, 'exit');
  const used = async () => (await readCgroupLevel(directory, version))!.usageBytes;
  while ((await used()) < 20 * MIB) await sleep(10);
  await holdMemory(directory, version);
  const level = (await readCgroupLevel(directory, version))!;
  t.true(level.capacityBytes < LIMIT, 'the limit is lower');
  t.true(level.capacityBytes - level.usageBytes <= 17 * MIB);
  for (let looks = 0; looks < 20; looks++) {
    t.true((await used()) <= level.capacityBytes);
    await sleep(50);
  }
  child.kill('SIGKILL');
  await ended;
}

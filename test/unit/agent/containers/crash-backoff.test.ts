import test from 'ava';
import { crashKey, createCrashBackoff } from '../../../../agent/containers/crash-backoff.ts';
import { formatGoSeconds } from '../../../../agent/pods/durations.ts';
import { createFakeClock } from '../../../fakes/clock.ts';

const OPTIONS = { initialMs: 10_000, maxMs: 300_000 };
const KEY = crashKey('uid-1', 'app', 'h');

test('at once, then 10, 20, 40, 80, 160, 300, 300 s after the end', async (t) => {
  const clock = createFakeClock();
  const backoff = createCrashBackoff(OPTIONS, clock);
  const waited: number[] = [];
  for (let restart = 0; restart < 8; restart++) {
    const finishedMs = clock.nowMs();
    const delay = backoff.delay(KEY, finishedMs, clock.nowMs());
    waited.push((delay?.delayMs ?? 0) / 1000);
    await clock.advance(delay?.delayMs ?? 0);
    t.is(backoff.delay(KEY, finishedMs, clock.nowMs()), undefined);
    backoff.restarted(KEY, finishedMs);
  }
  t.deepEqual(waited, [0, 10, 20, 40, 80, 160, 300, 300]);
});

test('a run of more than ten minutes starts afresh; another image does too', async (t) => {
  const clock = createFakeClock();
  const backoff = createCrashBackoff(OPTIONS, clock);
  backoff.restarted(KEY, clock.nowMs());
  backoff.restarted(KEY, clock.nowMs());
  t.is(backoff.delay(crashKey('uid-1', 'app', 'other'), clock.nowMs(), clock.nowMs()), undefined);
  await clock.advance(600_001);
  t.is(backoff.delay(KEY, clock.nowMs(), clock.nowMs()), undefined);
});

test('a small maximum lowers the first wait', (t) => {
  const clock = createFakeClock();
  const backoff = createCrashBackoff({ initialMs: 10_000, maxMs: 1_000 }, clock);
  backoff.restarted(KEY, clock.nowMs());
  t.is(backoff.delay(KEY, clock.nowMs(), clock.nowMs())!.delayMs, 1_000);
});

test('a finish time in the future does not stretch the wait', (t) => {
  const clock = createFakeClock();
  const backoff = createCrashBackoff(OPTIONS, clock);
  backoff.restarted(KEY, clock.nowMs());
  const now = clock.nowMs();
  t.is(backoff.delay(KEY, now + 100_000, now)!.untilMs, now + 10_000);
});

test('forgotten with its pod', (t) => {
  const clock = createFakeClock();
  const backoff = createCrashBackoff(OPTIONS, clock);
  backoff.restarted(KEY, clock.nowMs());
  backoff.forget('uid-1_');
  t.is(backoff.delay(KEY, clock.nowMs(), clock.nowMs()), undefined);
});

test('seconds as Go prints them', (t) => {
  t.deepEqual([10_000, 40_000, 80_000, 160_000, 300_000, 3_600_000].map(formatGoSeconds), [
    '10s',
    '40s',
    '1m20s',
    '2m40s',
    '5m0s',
    '1h0m0s',
  ]);
});

test('a new agent goes on where the records say that the last one was', (t) => {
  const clock = createFakeClock();
  const start = clock.nowMs();
  const delayOf = (restartCount: number, waitedMs?: number, ranMs = 1_000) => {
    const crashes = createCrashBackoff({ initialMs: 10_000, maxMs: 300_000 }, clock);
    const finishedAtMs = start + ranMs;
    const before =
      waitedMs === undefined
        ? []
        : [{ restartCount: restartCount - 1, createdAtMs: 0, finishedAtMs: start - waitedMs }];
    crashes.recall('k', [{ restartCount, createdAtMs: start, finishedAtMs }, ...before]);
    return crashes.delay('k', finishedAtMs, finishedAtMs)?.delayMs;
  };
  t.is(delayOf(0), undefined, 'the first run has no past');
  t.deepEqual(
    [1, 2, 3, 4, 5, 6, 7].map((count) => delayOf(count)),
    [10, 20, 40, 80, 160, 300, 300].map((s) => s * 1000),
  );
  t.is(delayOf(50, 50), 10_000, 'crashes of long ago don’t count: the last restart was at once');
  t.is(delayOf(50, 10_050), 20_000);
  t.is(delayOf(50, 41_000), 80_000);
  t.is(delayOf(50, 300_100), 300_000);
  t.is(delayOf(2, 300_100), 20_000, 'a wait for another reason (the agent was away) stretches nothing');
  t.is(delayOf(5, undefined, 601_000), undefined, 'forgotten after a long run');
});

test('what this agent knows itself counts more than the records', (t) => {
  const clock = createFakeClock();
  const crashes = createCrashBackoff({ initialMs: 10_000, maxMs: 300_000 }, clock);
  const finishedAtMs = clock.nowMs();
  crashes.restarted('k', finishedAtMs);
  crashes.recall('k', [{ restartCount: 6, createdAtMs: finishedAtMs, finishedAtMs }]);
  t.is(crashes.delay('k', finishedAtMs, finishedAtMs)!.delayMs, 10_000);
});

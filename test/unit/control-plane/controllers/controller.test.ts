import test from 'ava';
import { createReconciler } from '../../../../control-plane/controllers/controller.ts';
import { createHeartbeats } from '../../../../src/runtime/heartbeat.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { Registry } from '../../../../src/runtime/metrics.ts';
import { createFakeClock, settle } from '../../../fakes/clock.ts';

function setUp(t: { teardown(fn: () => Promise<void>): void }, reconcile: (key: string) => Promise<void>) {
  const clock = createFakeClock();
  const metrics = new Registry();
  const heartbeats = createHeartbeats(clock);
  const input = Promise.withResolvers<void>();
  const controller = createReconciler(
    { name: 'test-controller', inputs: [{ synced: () => input.promise }], reconcile },
    { log: silentLogger, clock, metrics, heartbeats },
  );
  const abort = new AbortController();
  const run = controller.run(abort.signal);
  const stop = async () => {
    abort.abort();
    await run;
  };
  t.teardown(stop);
  return { clock, metrics, heartbeats, input, controller };
}

test('nothing is reconciled before the inputs are complete; failures come back after a growing while', async (t) => {
  const seen: number[] = [];
  const { clock, metrics, input, controller } = setUp(t, async () => {
    seen.push(clock.monotonicMs());
    if (seen.length < 3) throw new Error('not yet');
  });
  controller.queue.add('key');
  await settle();
  t.deepEqual(seen, []);
  input.resolve();
  await settle();
  await clock.advance(1000);
  t.deepEqual(seen, [0, 5, 15]);
  const text = await metrics.metrics();
  t.regex(text, /workqueue_retries_total\{name="test-controller"\} 2/);
  t.regex(text, /workqueue_work_duration_seconds_count\{name="test-controller"\} 3/);
  t.regex(text, /workqueue_depth\{name="test-controller"\} 0/);
  t.regex(text, /workqueue_adds_total\{name="test-controller"\} 3/);
  t.regex(text, /workqueue_queue_duration_seconds_count\{name="test-controller"\} 3/);
  t.regex(text, /workqueue_unfinished_work_seconds\{name="test-controller"\} 0/);
});

test('an idle loop beats, one with a pass that hangs does not', async (t) => {
  const hang = Promise.withResolvers<void>();
  const { clock, heartbeats, input, controller } = setUp(t, () => hang.promise);
  input.resolve();
  await clock.advance(600_000);
  t.deepEqual(heartbeats.overdue(), []);
  controller.queue.add('key');
  await clock.advance(150_000);
  t.deepEqual(heartbeats.overdue(), []);
  await clock.advance(100_000);
  t.like(heartbeats.overdue()[0], { name: 'test-controller' });
  hang.resolve();
  await clock.advance(20_000);
  t.deepEqual(heartbeats.overdue(), []);
});

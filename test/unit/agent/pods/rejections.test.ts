import test from 'ava';
import { createRejectionBackoff } from '../../../../agent/pods/rejections.ts';
import { createFakeClock } from '../../../fakes/clock.ts';
import { podOf } from '../pod.ts';

const owned = (uid: string) =>
  podOf({}, { ownerReferences: [{ apiVersion: 'apps/v1', kind: 'ReplicaSet', name: uid, uid, controller: true }] });

test('R20: what comes after a rejection waits twice as long each time, up to five minutes', async (t) => {
  const clock = createFakeClock();
  const backoff = createRejectionBackoff(clock);
  const pod = owned('rs');
  const waits: number[] = [];
  for (let rejection = 0; rejection < 8; rejection++) {
    const seenMs = clock.monotonicMs();
    const holdMs = backoff.holdMs(pod, seenMs);
    waits.push(holdMs / 1000);
    await clock.advance(holdMs);
    t.is(backoff.holdMs(pod, seenMs), 0);
    backoff.rejected(pod, seenMs);
    t.is(backoff.holdMs(owned('other'), clock.monotonicMs()), 0);
  }
  t.deepEqual(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
});

test('R20: siblings are rejected together, and count once', async (t) => {
  const clock = createFakeClock();
  const backoff = createRejectionBackoff(clock);
  const pod = owned('rs');
  const first = clock.monotonicMs();
  await clock.advance(1);
  for (let sibling = 0; sibling < 5; sibling++) {
    t.is(backoff.holdMs(pod, first), 0);
    backoff.rejected(pod, first);
  }
  await clock.advance(1);
  const second = clock.monotonicMs();
  t.is(backoff.holdMs(pod, second), 9_999);
  await clock.advance(9_999);
  for (let sibling = 0; sibling < 5; sibling++) {
    t.is(backoff.holdMs(pod, second), 0);
    backoff.rejected(pod, second);
  }
  t.is(backoff.holdMs(pod, clock.monotonicMs()), 20_000);
});

test('R20: an admitted pod, or ten quiet minutes, and the next is judged at once; pods of nobody always are', async (t) => {
  const clock = createFakeClock();
  const backoff = createRejectionBackoff(clock);
  const now = () => clock.monotonicMs();
  const pod = owned('rs');
  backoff.rejected(pod, now());
  t.is(backoff.holdMs(pod, now()), 10_000);
  backoff.admitted(pod);
  t.is(backoff.holdMs(pod, now()), 0);
  backoff.rejected(pod, now());
  await clock.advance(600_001);
  t.is(backoff.holdMs(pod, now()), 0);
  backoff.rejected(podOf(), now());
  t.is(backoff.holdMs(podOf(), now()), 0);
});

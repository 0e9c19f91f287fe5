import test from 'ava';
import { createStartSlots } from '../../../../agent/containers/start-slots.ts';
import { systemClock } from '../../../../src/runtime/clock.ts';
import { createFakeClock, settle } from '../../../fakes/clock.ts';

test('no more than the slots at once; containers before sandboxes; a failure frees its slot', async (t) => {
  const slots = createStartSlots(2, systemClock);
  const order: string[] = [];
  let running = 0;
  let most = 0;
  const call = (name: string) => async () => {
    order.push(name);
    most = Math.max(most, ++running);
    await new Promise((resolve) => setTimeout(resolve, 5));
    running--;
    if (name === 's2') throw new Error('failed');
  };
  const results = await Promise.allSettled([
    slots.run('sandbox', call('s1')),
    slots.run('sandbox', call('s2')),
    slots.run('sandbox', call('s3')),
    slots.run('sandbox', call('s4')),
    slots.run('container', call('c1')),
    slots.run('container', call('c2')),
  ]);
  t.deepEqual(order, ['s1', 's2', 'c1', 'c2', 's3', 's4']);
  t.is(most, 2);
  t.is(results.filter(({ status }) => status === 'rejected').length, 1);
});

test('R4: calls that hang give their slots back, and only once', async (t) => {
  const clock = createFakeClock();
  const slots = createStartSlots(1, clock);
  const ends: (() => void)[] = [];
  const hang = () => new Promise<void>((resolve) => ends.push(resolve));
  const hung = slots.run('sandbox', hang);
  const started: string[] = [];
  const others = ['a', 'b'].map((name) =>
    slots.run('sandbox', async () => {
      started.push(name);
      await hang();
    }),
  );
  await clock.advance(9_000);
  t.deepEqual(started, []);
  await clock.advance(1_000);
  t.deepEqual(started, ['a']);
  ends[0]!();
  await hung;
  await settle();
  t.deepEqual(started, ['a'], 'what was given back is not given back again');
  ends[1]!();
  await others[0];
  await settle();
  t.deepEqual(started, ['a', 'b']);
  ends[2]!();
  await others[1];
});

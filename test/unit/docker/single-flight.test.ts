import test from 'ava';
import { createSingleFlight } from '../../../src/docker/single-flight.ts';
import { settle } from '../../fakes/clock.ts';

function recorder() {
  const calls: { key: string; resolve(value: string): void; reject(error: Error): void }[] = [];
  const ask = createSingleFlight((key) => {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    calls.push({ key, resolve, reject });
    return promise;
  });
  return { calls, ask };
}

test('R5: a hundred questions about one container are two calls: the one under way, and one that is newer than the questions', async (t) => {
  const { calls, ask } = recorder();
  const first = ask('a');
  const late = Array.from({ length: 99 }, () => ask('a'));
  t.is(calls.length, 1);
  calls[0]!.resolve('old');
  t.is(await first, 'old');
  await settle();
  t.is(calls.length, 2);
  calls[1]!.resolve('new');
  t.deepEqual(new Set(await Promise.all(late)), new Set(['new']));
  const again = ask('a');
  t.is(calls.length, 3);
  calls[2]!.resolve('newest');
  t.is(await again, 'newest');
});

test('one key that hangs holds no other', async (t) => {
  const { calls, ask } = recorder();
  ask('hangs');
  const other = ask('b');
  calls[1]!.resolve('b');
  t.is(await other, 'b');
});

test('a failed call fails those who asked for it; the next one is asked for all the same', async (t) => {
  const { calls, ask } = recorder();
  const first = ask('a');
  const second = ask('a');
  calls[0]!.reject(new Error('broken'));
  await t.throwsAsync(first, { message: 'broken' });
  await settle();
  calls[1]!.resolve('fine');
  t.is(await second, 'fine');
});

test('who gives up leaves; the others get their answer', async (t) => {
  const { calls, ask } = recorder();
  const stop = new AbortController();
  const gone = ask('a', stop.signal);
  const stays = ask('a');
  stop.abort(new Error('enough'));
  await t.throwsAsync(gone, { message: 'enough' });
  calls[0]!.resolve('one');
  await settle();
  calls[1]!.resolve('two');
  t.is(await stays, 'two');
  await t.throwsAsync(ask('a', stop.signal), { message: 'enough' });
});

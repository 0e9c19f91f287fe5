import test from 'ava';
import { createSerial } from '../../../src/runtime/serial.ts';

test('one at a time, in order, whatever fails', async (t) => {
  const serial = createSerial();
  const said: string[] = [];
  const piece = (name: string, fails = false) =>
    serial(async () => {
      said.push(`${name} begins`);
      await new Promise((resolve) => setTimeout(resolve, 5));
      said.push(`${name} ends`);
      if (fails) throw new Error(name);
      return name;
    });
  const [one, two, three] = [piece('one'), piece('two', true), piece('three')];
  t.is(await one, 'one');
  await t.throwsAsync(two, { message: 'two' });
  t.is(await three, 'three');
  t.deepEqual(said, ['one begins', 'one ends', 'two begins', 'two ends', 'three begins', 'three ends']);
});

test('who gives up while waiting is let go at once, and never gets a turn', async (t) => {
  const serial = createSerial();
  const { promise: blocked, resolve: unblock } = Promise.withResolvers<void>();
  const first = serial(() => blocked);
  const gone = new AbortController();
  let ran = false;
  const second = serial(() => {
    ran = true;
  }, gone.signal);
  gone.abort(new Error('gave up'));
  await t.throwsAsync(second, { message: 'gave up' });
  unblock();
  await first;
  t.is(await serial(() => 'next', AbortSignal.abort()).catch(() => 'refused'), 'refused');
  t.is(await serial(() => 'last'), 'last');
  t.false(ran);
});

import { setImmediate as nextTurn } from 'node:timers/promises';
import test from 'ava';
import { isTurnSpent, whenTurnAllows } from '../../../src/runtime/turn.ts';

test.serial('work is done at once while the turn has time', async (t) => {
  await nextTurn();
  const done: string[] = [];
  whenTurnAllows(() => done.push('first'));
  t.deepEqual(done, ['first']);
});

test.serial(
  'a turn that is used up postpones work, and each of the next turns begins with one piece of it',
  async (t) => {
    await nextTurn();
    while (!isTurnSpent());
    const done: string[] = [];
    for (const name of ['first', 'second'])
      whenTurnAllows(() => {
        done.push(name);
        while (!isTurnSpent());
      });
    t.deepEqual(done, []);
    await nextTurn();
    t.deepEqual(done, ['first']);
    await nextTurn();
    t.deepEqual(done, ['first', 'second']);
    await nextTurn();
    whenTurnAllows(() => done.push('third'));
    t.deepEqual(done, ['first', 'second', 'third']);
  },
);

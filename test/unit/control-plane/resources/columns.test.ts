import test from 'ava';
import { age, firstThree, shortDuration } from '../../../../control-plane/resources/columns.ts';

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const durations: [number, string][] = [
  [-5 * SECOND, '<invalid>'],
  [-1 * SECOND, '0s'],
  [0, '0s'],
  [119 * SECOND, '119s'],
  [2 * MINUTE, '2m'],
  [5 * MINUTE + 12 * SECOND, '5m12s'],
  [10 * MINUTE + 5 * SECOND, '10m'],
  [179 * MINUTE, '179m'],
  [3 * HOUR, '3h'],
  [3 * HOUR + 20 * MINUTE, '3h20m'],
  [30 * HOUR + 59 * MINUTE, '30h'],
  [2 * DAY + 3 * HOUR, '2d3h'],
  [8 * DAY, '8d'],
  [400 * DAY, '400d'],
  [3 * 365 * DAY + 12 * DAY, '3y12d'],
  [9 * 365 * DAY, '9y'],
];
for (const [durationMs, text] of durations)
  test(`${durationMs / 1000} s is ${text}`, (t) => {
    t.is(shortDuration(durationMs), text);
  });

test('an age', (t) => {
  t.is(age('2026-01-01T00:00:00Z', Date.parse('2026-01-01T00:00:30Z')), '30s');
  t.is(age(undefined, 0), '<unknown>');
});

test('three are shown, the others counted', (t) => {
  t.is(firstThree([], '<none>'), '<none>');
  t.is(firstThree(['a', 'b', 'c'], '<none>'), 'a,b,c');
  t.is(firstThree(['a', 'b', 'c', 'd', 'e'], '<none>'), 'a,b,c + 2 more...');
});

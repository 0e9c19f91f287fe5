import test from 'ava';
import { pauseBeforeLookMs } from '../../../cli/cluster/look-again.ts';

test('who waits looks often, and takes a tenth of a slow machine', (t) => {
  t.is(pauseBeforeLookMs(2, 50), 50);
  t.is(pauseBeforeLookMs(100, 50), 900);
  t.is(pauseBeforeLookMs(10_000, 50), 2000);
});

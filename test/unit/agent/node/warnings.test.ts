import test from 'ava';
import { startWarnings } from '../../../../agent/node/warnings.ts';

test('only what is the case is told', (t) => {
  const reasons = (cgroupVersion: 1 | 2, canLowerOomScore: boolean) =>
    startWarnings({ cgroupVersion, canLowerOomScore }).map(({ reason }) => reason);
  t.deepEqual(reasons(2, true), []);
  t.deepEqual(reasons(1, true), ['CgroupV1']);
  t.deepEqual(reasons(2, false), ['BerthOomScoreClamped']);
});

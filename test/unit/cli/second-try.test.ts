import test from 'ava';
import { noTests } from '../../../cli/testing/report.ts';
import { filesToTryAgain } from '../../../cli/testing/second-try.ts';
import { type RungResult, summarize } from '../../../cli/testing/summary.ts';

const FILES = ['test/unit/agent/server/edge.test.ts', 'test/unit/cli/server/edge.test.ts', 'test/golden/rules.test.ts'];
const again = (...failedNames: string[]) =>
  filesToTryAgain({ failed: failedNames.length, failedNames }, FILES) ?? 'nothing';

test('the files of failed tests are found by their titles', (t) => {
  t.deepEqual(
    again('agent › server › edge › a title › with a mark', 'agent › server › edge › another'),
    new Map([[FILES[0]!, 2]]),
  );
  t.deepEqual(again('unit › cli › server › edge › a title (it never ended)'), new Map([[FILES[1]!, 1]]));
  t.deepEqual(filesToTryAgain({ failed: 1, failedNames: ['a title alone'] }, [FILES[2]!]), new Map([[FILES[2]!, 1]]));
});

test('no second try for what is no test of a file, for many files, for nothing', (t) => {
  t.is(again(), 'nothing');
  t.is(again('agent › server › edge › a title', 'a process died'), 'nothing');
  t.is(again('agent › server › edge › a', 'cli › server › edge › a', 'golden › rules › a'), 'nothing');
  t.is(filesToTryAgain({ failed: 2, failedNames: ['golden › rules › a'] }, FILES), undefined);
});

const result = (part: Partial<RungResult>): RungResult => ({
  ...noTests(),
  name: 'unit',
  seconds: 1.25,
  details: [],
  unsteady: [],
  ...part,
});

test('the summary ends with what failed, why, and the totals', (t) => {
  const { lines, green } = summarize([
    result({ passed: 3, skipped: 1, skippedNames: ['no kernel'] }),
    result({ name: 'netns', failed: 1, failedNames: ['a › b'], details: ['  - 1', '  + 2'] }),
  ]);
  t.false(green);
  t.deepEqual(lines, [
    '',
    'unit           3 passed   0 failed   1 skipped     1.3 s',
    '           skipped: no kernel',
    'netns          0 passed   1 failed   0 skipped     1.3 s',
    '',
    '✗ netns: a › b',
    '  - 1',
    '  + 2',
    '',
    '3 passed, 1 failed, 1 skipped',
  ]);
});

test('who passed alone does not fail the run, and is named with its first failure', (t) => {
  const unsteady = result({
    passed: 4,
    failedNames: ['a › b'],
    details: ['too late'],
    unsteady: ['test/unit/a.test.ts'],
  });
  const { lines, green } = summarize([unsteady]);
  t.true(green);
  t.deepEqual(lines.slice(-5, -2), [
    '✗ unit: a › b',
    'too late',
    'unsteady: test/unit/a.test.ts failed as told here, and passed when it was run again, alone',
  ]);
  t.false(summarize([]).green);
});

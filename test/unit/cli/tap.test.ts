import test from 'ava';
import { createTapReader } from '../../../cli/testing/tap.ts';

test('counts passed, failed and skipped tests and passes on what a failure says', (t) => {
  const said: string[] = [];
  const reader = createTapReader((line) => said.push(line));
  for (const line of [
    'TAP version 13',
    'ok 1 - plan › keeps a running container',
    'not ok 2 - plan › restarts',
    '  ---',
    '    name: AssertionError',
    '  ...',
    'ok 3 - ipvs # SKIP',
    '    stray diagnostics of a passing test',
    '1..3',
  ]) {
    reader.line(line);
  }
  t.deepEqual(reader.totals, { passed: 1, failed: 1, skipped: 1, skippedNames: ['ipvs'] });
  t.deepEqual(said, ['✗ plan › restarts', '  ---', '    name: AssertionError', '  ...']);
});

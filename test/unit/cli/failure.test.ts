import { spawnSync } from 'node:child_process';
import test from 'ava';

/** What a person sees of an error, and the exit code. */
function report(code: string): { stderr: string; status: number | null } {
  const script = `import { reportFailure, UserError } from './cli/output/failure.ts'; import { ExplainedError } from './src/runtime/explained-error.ts'; process.exitCode = reportFailure(${code});`;
  return spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
}

test('errors that explain themselves come without a stack, others keep it', (t) => {
  t.deepEqual([report("new UserError('no cluster: say up', 3)")].map(({ stderr, status }) => [stderr, status])[0], [
    'berth: no cluster: say up\n',
    3,
  ]);
  t.is(report("new ExplainedError('the port is taken: free it')").stderr, 'berth: the port is taken: free it\n');
  t.regex(report("new TypeError('x is undefined')").stderr, /^berth: TypeError: x is undefined\n {4}at /);
});

test('a teardown that failed in several places says each of them', (t) => {
  const { stderr, status } = report(
    "new AggregateError([new UserError('one'), new ExplainedError('two')], 'berth down: one; two')",
  );
  t.is(stderr, 'berth: berth down did not go through:\n  - one\n  - two\n');
  t.is(status, 1);
});

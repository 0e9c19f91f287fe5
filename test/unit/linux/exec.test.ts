import test from 'ava';
import { ExecError, findProgram, hasProgram, run } from '../../../src/linux/exec.ts';

test('answers stdout, stderr and the code', async (t) => {
  const result = await run('sh', ['-c', 'echo out; echo err >&2']);
  t.deepEqual(result, { stdout: 'out\n', stderr: 'err\n', code: 0 });
});

test('writes input and closes stdin', async (t) => {
  t.is((await run('cat', [], { input: 'a\nb\n' })).stdout, 'a\nb\n');
  async function* pieces() {
    yield 'one ';
    yield Buffer.from('two');
  }
  t.is((await run('cat', [], { input: pieces() })).stdout, 'one two');
});

test('a program that does not read its input still succeeds', async (t) => {
  t.is((await run('true', [], { input: 'x'.repeat(1 << 20) })).code, 0);
});

test('an unexpected exit code is an ExecError with program, code and stderr', async (t) => {
  const error = await t.throwsAsync(run('sh', ['-c', 'echo broken >&2; exit 3']), { instanceOf: ExecError });
  t.is(error.code, 3);
  t.is(error.program, 'sh');
  t.is(error.stderr, 'broken');
  t.regex(error.message, /exit code 3: broken/);
});

test('okCodes are results', async (t) => {
  t.is((await run('sh', ['-c', 'exit 3'], { okCodes: [0, 3] })).code, 3);
});

test('a timeout kills the whole process group', async (t) => {
  const error = await t.throwsAsync(run('sh', ['-c', 'sleep 1000 & sleep 1000'], { timeoutMs: 100 }), {
    instanceOf: ExecError,
  });
  // It is told once all of them have let go of the pipes: with one left that would be in a quarter of an hour.
  t.regex(error.message, /no end after 100 ms/);
});

test('an abort kills the program and rejects with the reason', async (t) => {
  const controller = new AbortController();
  const running = run('sleep', ['20'], { signal: controller.signal });
  controller.abort(new Error('enough'));
  await t.throwsAsync(running, { message: 'enough' });
  await t.throwsAsync(run('true', [], { signal: controller.signal }), { message: 'enough' });
});

test('nothing of the environment is inherited', async (t) => {
  const { stdout } = await run('env', [], { env: { ONE: '1' } });
  t.deepEqual(stdout.trim().split('\n').sort(), ['LC_ALL=C', 'ONE=1', 'PATH=/usr/sbin:/usr/bin:/sbin:/bin']);
});

test('a missing program is named with the way out', async (t) => {
  t.false(hasProgram('no-such-program'));
  t.true(findProgram('sh').endsWith('/sh'));
  await t.throwsAsync(run('no-such-program', []), { message: /no-such-program: not found in .*install/ });
});

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { LABEL } from '../../../../agent/containers/identity.ts';
import { readTerminationMessage } from '../../../../agent/containers/termination-message.ts';
import type { ContainerDetail, LogOptions } from '../../../../src/docker/engine.ts';

interface Ending {
  /** What it wrote into its file; absent: there is no file any more. */
  written?: string | Buffer;
  log?: string;
  exitCode?: number;
  policy?: string;
  error?: string;
  tty?: boolean;
}

/** The message of a container that ended so, and how its log was asked for. */
async function lastWords(
  t: ExecutionContext,
  { written, log = '', exitCode = 1, policy, error = '', tty = false }: Ending,
) {
  const folder = await mkdtemp('/tmp/berth-unit-words-');
  t.teardown(() => rm(folder, { recursive: true }));
  const file = join(folder, 'a1b2c3d4');
  if (written !== undefined) await writeFile(file, written);
  const asked: LogOptions[] = [];
  const docker = {
    async *containerLogs(_: string, options: LogOptions) {
      asked.push(options);
      const lines = log.split(/(?<=\n)/);
      yield { stream: 'stdout' as const, data: Buffer.from(lines.slice(-(options.tail ?? lines.length)).join('')) };
    },
  };
  const detail = {
    id: 'c',
    labels: { [LABEL.terminationMessagePath]: '/words', ...(policy && { [LABEL.terminationMessagePolicy]: policy }) },
    mounts: [{ source: file, destination: '/words' }],
    exitCode,
    error,
    tty,
  } as unknown as ContainerDetail;
  return { message: await readTerminationMessage(docker, detail), asked };
}

test('what was written, of a long text its last 4096 bytes, never half a character', async (t) => {
  t.is((await lastWords(t, { written: 'it broke\n' })).message, 'it broke\n');
  t.is((await lastWords(t, { written: `${'x'.repeat(5000)}end` })).message, `${'x'.repeat(4093)}end`);
  const odd = (await lastWords(t, { written: `${'é'.repeat(2048)}!` })).message!;
  t.is(odd, `${'é'.repeat(2047)}!`);
});

test('the log only when the policy says so, it failed, and it wrote nothing', async (t) => {
  const policy = 'FallbackToLogsOnError';
  t.is((await lastWords(t, { log: 'why\n', policy })).message, 'why\n');
  t.is((await lastWords(t, { log: 'why\n', policy, written: '' })).message, 'why\n');
  t.is((await lastWords(t, { log: 'why\n', policy, written: 'because' })).message, 'because');
  t.is((await lastWords(t, { log: 'why\n', policy, exitCode: 0 })).message, undefined);
  t.is((await lastWords(t, { log: 'why\n' })).message, undefined);
  t.is((await lastWords(t, { log: 'why\n', policy: 'File' })).message, undefined);
});

test('of the log its last 80 lines, and of those the last 2048 bytes; a terminal’s log is no frames', async (t) => {
  const policy = 'FallbackToLogsOnError';
  const lines = Array.from({ length: 100 }, (_, index) => `line ${index}\n`);
  t.is((await lastWords(t, { log: lines.join(''), policy })).message, lines.slice(20).join(''));
  const long = (await lastWords(t, { log: `${'y'.repeat(5000)}end`, policy })).message!;
  t.is(long, `${'y'.repeat(2045)}end`);
  t.deepEqual((await lastWords(t, { log: 'x', policy, tty: true })).asked, [{ tail: 80, tty: true }]);
});

test('the Engine’s own words when it never ran', async (t) => {
  t.is((await lastWords(t, { error: 'no such file', written: 'x' })).message, 'no such file');
});

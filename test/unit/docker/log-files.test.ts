/** The Engine's log files, read by ourselves: its own `follow` loses and repeats lines where a log is rotated. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { LogOptions } from '../../../src/docker/engine.ts';
import { readLogFiles } from '../../../src/docker/log-files/read.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { eventually } from '../../support/eventually.ts';
import { LogWriter } from '../../support/log-writer.ts';

function logPath(t: ExecutionContext): string {
  const directory = mkdtempSync('/tmp/berth-unit-log-');
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  return join(directory, 'c-json.log');
}

async function read(path: string, options: LogOptions = {}): Promise<string> {
  const deps = { clock: systemClock, ended: Promise.resolve(), onLost() {} };
  let text = '';
  for await (const { data } of readLogFiles(path, options, deps)) text += data;
  return text;
}

/** Reads in the background; `text` grows. */
function follow(path: string, options: LogOptions = {}, pauseMs = 0) {
  const { promise: ended, resolve: end } = Promise.withResolvers<void>();
  const stop = new AbortController();
  const lost: string[] = [];
  const reader = { text: '', lost, end, stop, done: Promise.resolve() };
  reader.done = (async () => {
    const deps = { clock: systemClock, ended, onLost: (why: string) => lost.push(why) };
    for await (const { data } of readLogFiles(path, { follow: true, ...options }, deps, stop.signal)) {
      reader.text += data;
      if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  })();
  return reader;
}

const numbered = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, index) => `line ${from + index}\n`).join('');

function writeLines(writer: LogWriter, from: number, to: number): void {
  for (let line = from; line < to; line++) writer.write(`line ${line}\n`);
}

for (const compress of [true, false])
  test(`a rotated log${compress ? ', compressed' : ''} is read from its oldest file on`, async (t) => {
    const path = logPath(t);
    const writer = new LogWriter(path, { maxFiles: 5, compress });
    for (let file = 0; file < 4; file++) {
      writeLines(writer, file * 10, file * 10 + 10);
      if (file < 3) writer.rotate();
    }
    t.is(await read(path), numbered(0, 40));
    for (const tail of [0, 1, 5, 10, 15, 25, 40, 100])
      t.is(await read(path, { tail }), numbered(Math.max(0, 40 - tail), 40), `tail ${tail}`);
    // Line n was written half a second after second n.
    t.is(await read(path, { sinceMs: 37_000 }), numbered(37, 40));
    t.is(await read(path, { sinceMs: 37_600 }), numbered(38, 40));
  });

test('streams are told apart, and times have nine digits at the start of each line', async (t) => {
  const path = logPath(t);
  const writer = new LogWriter(path);
  writer.write('out ');
  writer.write('err\n', 'stderr');
  writer.write('goes on\n');
  t.is(await read(path), 'out err\ngoes on\n');
  t.is(await read(path, { stderr: false }), 'out goes on\n');
  t.is(await read(path, { stdout: false }), 'err\n');
  t.is(
    await read(path, { timestamps: true, stderr: false }),
    '1970-01-01T00:00:00.500000000Z out goes on\n',
    'a line that came in two entries has one time',
  );
});

test('a line that an Engine has begun and never ended costs that line only', async (t) => {
  const path = logPath(t);
  const writer = new LogWriter(path);
  writer.write('one\n');
  writer.raw('{"log":"ha');
  writer.write('two\n');
  writer.raw('not of the driver\n');
  writer.write('three\n');
  writer.raw('{"log":"never whole');
  t.is(await read(path), 'one\ntwo\nthree\n');
});

test('a log that is not there is an error', async (t) => {
  await t.throwsAsync(read(logPath(t)), { code: 'ENOENT' });
  await t.throwsAsync(read('/nowhere/c-json.log'), { code: 'ENOENT' });
});

test('following shows what is there, what comes, and ends with the container', async (t) => {
  const path = logPath(t);
  const writer = new LogWriter(path);
  writeLines(writer, 0, 5);
  const reader = follow(path, { tail: 2 });
  await eventually('the tail', () => reader.text === numbered(3, 5));
  writer.raw('{"log":"line 5\\n","stream":"stdout",');
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.is(reader.text, numbered(3, 5), 'half an entry waits for its other half');
  writer.raw('"time":"1970-01-01T00:00:05Z"}\n');
  await eventually('the line', () => reader.text === numbered(3, 6));
  writeLines(writer, 6, 7);
  reader.end();
  await reader.done;
  t.is(reader.text, numbered(3, 7));
});

test('following ends with the reason of its signal', async (t) => {
  const path = logPath(t);
  new LogWriter(path).write('line 0\n');
  const reader = follow(path);
  await eventually('the line', () => reader.text !== '');
  reader.stop.abort(new Error('the client has gone'));
  await t.throwsAsync(reader.done, { message: 'the client has gone' });
});

for (const compress of [true, false])
  test(`a reader who sleeps through several rotations misses nothing${compress ? ', compressed' : ''}`, async (t) => {
    const path = logPath(t);
    const writer = new LogWriter(path, { maxFiles: 5, compress });
    writeLines(writer, 0, 10);
    const reader = follow(path);
    await eventually('the first lines', () => reader.text === numbered(0, 10));
    // All at once, while the reader's loop cannot turn: what it had open is the fourth file by then.
    for (let file = 1; file <= 3; file++) {
      writeLines(writer, file * 10, file * 10 + 5);
      writer.rotate();
      writeLines(writer, file * 10 + 5, file * 10 + 10);
    }
    await eventually('the others', () => reader.text.length >= numbered(0, 40).length);
    reader.end();
    await reader.done;
    t.is(reader.text, numbered(0, 40));
    t.deepEqual(reader.lost, []);
  });

test('lines that are gone before they could be read are told of', async (t) => {
  const path = logPath(t);
  const writer = new LogWriter(path, { maxFiles: 2 });
  writeLines(writer, 0, 10);
  const reader = follow(path);
  await eventually('the first lines', () => reader.text === numbered(0, 10));
  for (let file = 1; file <= 4; file++) {
    writer.rotate();
    writeLines(writer, file * 10, file * 10 + 10);
  }
  await eventually('the newest', () => reader.text.endsWith(numbered(40, 50)));
  reader.end();
  await reader.done;
  t.is(reader.text, numbered(0, 10) + numbered(30, 50));
  t.is(reader.lost.length, 1);
});

test('a log that is truncated in place is followed from its start', async (t) => {
  const path = logPath(t);
  const writer = new LogWriter(path);
  writeLines(writer, 0, 10);
  const reader = follow(path);
  await eventually('the first lines', () => reader.text === numbered(0, 10));
  writer.close();
  writeLines(new LogWriter(path), 10, 12);
  await eventually('the others', () => reader.text === numbered(0, 12));
  reader.end();
  await reader.done;
  t.is(reader.text, numbered(0, 12));
});

for (const [name, pauseMs] of [
  ['reads at once', 0],
  ['is slow', 2],
] as const)
  test(`no line is lost or repeated while another process writes and rotates: whoever ${name}`, async (t) => {
    const path = logPath(t);
    const lines = pauseMs > 0 ? 3_000 : 10_000;
    new LogWriter(path).close();
    const reader = follow(path, {}, pauseMs);
    const script = join(import.meta.dirname, '../../support/log-writer.ts');
    // Enough files for all of it: however late the reader is on a busy machine, nothing goes before it was read.
    const child = spawn(process.execPath, [script, path, '65536', '40', 'true', String(lines)], { stdio: 'inherit' });
    const [code] = await once(child, 'exit');
    t.is(code, 0);
    reader.end();
    await reader.done;
    const all = reader.text.split('\n');
    const first = all.findIndex((line, index) => !line.startsWith(`line ${index} `));
    t.is(first, lines, `line ${first} is "${all[first]}"`);
    t.deepEqual(reader.lost, []);
  });

import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import test from 'ava';
import { readInput, writeOutput } from '../../../cli/cni/standard-streams.ts';
import { openPipe } from '../../../src/linux/pipe.ts';

/** More than a pipe holds. */
const LARGE = 'ä'.repeat(100_000);

test('input that comes in pieces is waited for, to its end', async (t) => {
  const { readEnd, writeEnd } = openPipe();
  const all = readInput(readEnd);
  for (const piece of ['{"name":', '"net"}']) {
    writeSync(writeEnd, piece);
    await new Promise((resolve) => setImmediate(resolve));
  }
  closeSync(writeEnd);
  t.is(await all, '{"name":"net"}');
  closeSync(readEnd);
});

test('output that the reader has no room for is written when he has', async (t) => {
  const { readEnd, writeEnd } = openPipe();
  const written = writeOutput(LARGE, writeEnd).finally(() => closeSync(writeEnd));
  t.is(await readInput(readEnd), LARGE);
  await written;
  closeSync(readEnd);
});

test('a reader who is gone keeps nobody from ending', async (t) => {
  const { readEnd, writeEnd } = openPipe();
  const written = writeOutput(LARGE, writeEnd);
  t.true(readSync(readEnd, Buffer.alloc(10)) > 0);
  closeSync(readEnd);
  await t.notThrowsAsync(written);
  closeSync(writeEnd);
});

test('what cannot be read says so', async (t) => {
  const folder = openSync('/', 'r');
  await t.throwsAsync(readInput(folder), { code: 'EISDIR' });
  closeSync(folder);
});

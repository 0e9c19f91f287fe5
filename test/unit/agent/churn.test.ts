/** R6: pods come and go on a whole agent over an Engine and an API server in memory; nothing of them stays in its heap. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import type { ChurnReport } from '../../support/churn-child.ts';

const run = promisify(execFile);
const MIB = 2 ** 20;
const CHILD = join(import.meta.dirname, '../../support/churn-child.ts');

async function churn(...args: string[]): Promise<ChurnReport> {
  const { stdout } = await run(process.execPath, ['--expose-gc', CHILD, ...args], { maxBuffer: MIB });
  return JSON.parse(stdout);
}

test('R6: a hundred pods leave no object behind each, and the heap is flat', async (t) => {
  t.timeout(120_000);
  const { left, bytesBefore, bytesAfter } = await churn('100', '100', 'quiet');
  t.log(`${bytesBefore} → ${bytesAfter} bytes`);
  t.deepEqual(left, []);
  t.true(bytesAfter < bytesBefore * 1.2 + 2 * MIB, `${bytesBefore} → ${bytesAfter} bytes`);
});

const full = process.env['BERTH_TEST_FULL'] === '1' ? test : test.skip;

full('R6: two thousand pods, with their events (--full)', async (t) => {
  t.timeout(900_000);
  const { left, bytesBefore, bytesAfter } = await churn('300', '2000');
  t.log(`${bytesBefore} → ${bytesAfter} bytes`);
  t.deepEqual(left, []);
  t.true(bytesAfter < bytesBefore * 1.1 + 2 * MIB, `${bytesBefore} → ${bytesAfter} bytes`);
});

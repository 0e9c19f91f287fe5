import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { setOwnOomScore } from '../../../src/linux/oom-score.ts';
import { parseSwaps, readSwapDevices } from '../../../src/linux/swap.ts';

test('/proc/swaps', async (t) => {
  const text =
    'Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n/dev/dm-1                               partition\t1048572\t\t0\t\t-2\n/swap\\040file file 1024 8 -3\n';
  t.deepEqual(parseSwaps(text), [
    { name: '/dev/dm-1', sizeBytes: 1_073_737_728 },
    { name: '/swap\\040file', sizeBytes: 1_048_576 },
  ]);
  t.deepEqual(parseSwaps('Filename Type Size Used Priority\n'), []);
  t.deepEqual(await readSwapDevices('/nonexistent'), []);
});

test('the own oom_score_adj: set, or refused without an error', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'berth-oom-'));
  const file = join(folder, 'oom_score_adj');
  writeFileSync(file, '0');
  t.true(setOwnOomScore(-999, file));
  t.is(readFileSync(file, 'utf8'), '-999');
  t.throws(() => setOwnOomScore(0, folder), { code: 'EISDIR' });
  rmSync(folder, { recursive: true });
});

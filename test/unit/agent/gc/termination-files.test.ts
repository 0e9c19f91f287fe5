import { appendFileSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import { removeOldTerminationFiles } from '../../../../agent/gc/termination-files.ts';

test('of the files for termination messages the ten newest stay, whichever was written to last', async (t) => {
  const directory = mkdtempSync('/tmp/berth-unit-termination-');
  t.teardown(() => rmSync(directory, { recursive: true }));
  for (let run = 0; run < 13; run++) {
    writeFileSync(join(directory, `run-${String(run).padStart(2, '0')}`), '');
    await sleep(5);
  }
  appendFileSync(join(directory, 'run-00'), 'its last words');
  await removeOldTerminationFiles(directory);
  t.deepEqual(
    readdirSync(directory).sort(),
    Array.from({ length: 10 }, (_, index) => `run-${String(index + 3).padStart(2, '0')}`),
  );
  await removeOldTerminationFiles(directory);
  t.is(readdirSync(directory).length, 10);
});

test('a container that never ran has none', async (t) => {
  await t.notThrowsAsync(removeOldTerminationFiles('/nowhere/of/a/container'));
});

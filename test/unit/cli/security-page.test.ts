import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { CHECKOUT } from '../../../cli/daemon/launch.ts';

const page = readFileSync(join(CHECKOUT, 'docs/security.md'), 'utf8');
/** `| CVE-…, CVE-… | behaviour | `file` `file` |` */
const rows = page
  .split('\n')
  .map((line) => line.split('|').map((cell) => cell.trim()))
  .filter(([, ids]) => /^(CVE-\d{4}-\d+|KHV\d+)/.test(ids ?? ''))
  .map(([, ids = '', behaviour = '', files = '']) => ({
    ids: ids.split(', '),
    behaviour,
    files: [...files.matchAll(/`([^`]+)`/g)].map(([, file]) => file!),
  }));

/** Those that the project has promised to have under test. */
const PROMISED = [
  ...['CVE-2020-8558', 'CVE-2020-8557', 'CVE-2019-11245', 'KHV047', 'CVE-2023-2431', 'CVE-2020-8551', 'CVE-2019-11248'],
  ...['CVE-2022-3172', 'CVE-2020-8559', 'CVE-2025-0426', 'CVE-2022-3294', 'CVE-2025-5187', 'CVE-2025-4563'],
];

test('docs/security.md: every attack has a behaviour, and its number stands in the title of a test in every file named', (t) => {
  t.deepEqual(
    PROMISED.filter((id) => !rows.some(({ ids }) => ids.includes(id))),
    [],
  );
  for (const { ids, behaviour, files } of rows) {
    t.true(behaviour.length > 10 && files.length > 0, ids.join());
    for (const file of files) {
      t.true(existsSync(join(CHECKOUT, file)), file);
      const text = readFileSync(join(CHECKOUT, file), 'utf8');
      t.true(
        ids.some((id) => text.includes(id)),
        `${file} says nothing of ${ids.join()}`,
      );
    }
    for (const id of ids)
      t.true(
        files.some((file) => readFileSync(join(CHECKOUT, file), 'utf8').includes(id)),
        `no file of the row has ${id}`,
      );
  }
});

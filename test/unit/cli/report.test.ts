import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { CHECKOUT } from '../../../cli/daemon/launch.ts';
import { createReportReader } from '../../../cli/testing/report.ts';

const SOURCE = `import test from 'ava';
test('passes', (t) => { t.log(['a', 'word'].join(' ') + '\\n  - of two lines'); t.pass(); });
test('fails', (t) => t.is(1, 2));
test.skip('is left out (no kernel for it)', (t) => t.pass());
test('throws undefined', async () => { throw undefined; });
test('throws an object with holes', async () => { throw { a: undefined, toString: undefined }; });
test('hangs', async () => { setInterval(() => {}, 1000); await new Promise(() => {}); });
`;

test('colours make no difference', (t) => {
  const reader = createReportReader(() => {});
  reader.line('  \u001b[32m✔\u001b[39m contract \u001b[90m›\u001b[39m kernel: sets \u001b[90m(1s)\u001b[39m');
  t.is(reader.totals.passed, 1);
});

test('what the real ava says of passed, failed, skipped and hanging tests is counted and named', (t) => {
  // Below the checkout: ava and its settings are found from there.
  const folder = join(CHECKOUT, '.toolchain');
  mkdirSync(folder, { recursive: true });
  const project = mkdtempSync(join(folder, 'report-'));
  t.teardown(() => rmSync(project, { recursive: true, force: true }));
  writeFileSync(join(project, 'package.json'), '{"type":"module","ava":{"files":["*.js"]}}');
  writeFileSync(join(project, 'some.js'), SOURCE);
  const ava = join(CHECKOUT, 'node_modules/ava/entrypoints/cli.js');
  const { stdout, status } = spawnSync(process.execPath, [ava, '--timeout', '2s', 'some.js'], {
    cwd: project,
    encoding: 'utf8',
    env: { PATH: process.env['PATH'], NODE_PATH: join(CHECKOUT, 'node_modules') },
  });
  t.not(status, 0);
  const failures: string[] = [];
  const reader = createReportReader((line) => failures.push(line));
  for (const line of stdout.split('\n')) reader.line(line);
  t.deepEqual(
    failures.map((line) => line.split(' ').slice(0, 4).join(' ')),
    ['✗ fails', '✗ throws undefined Rejected', '✗ throws an object', '✗ hangs (it never'],
  );
  const { failedNames, ...totals } = reader.totals;
  t.deepEqual(
    failedNames,
    failures.map((line) => line.slice(2)),
  );
  t.deepEqual(totals, {
    passed: 1,
    failed: 4,
    skipped: 1,
    skippedNames: ['is left out (no kernel for it)'],
  });
  const details = reader.details().join('\n');
  t.regex(details, /- 1\n {2}\+ 2/, 'why it failed is told');
  t.notRegex(details, /a word|of two lines/);
});

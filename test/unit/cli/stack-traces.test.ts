import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { build } from 'esbuild';
import { findSourcePositions } from '../../../cli/bundle/source-positions.ts';
import { createStackFormatter } from '../../../cli/bundle/stack-traces.ts';

test('positions come from the last segment at or before the column', (t) => {
  // Line 1: column 0 → a.ts 1:1, column 8 → b.ts 3:5; line 2: column 4 → b.ts 3:1.
  const map = { sources: ['a.ts', 'b.ts'], mappings: 'AAAA,QCEI;IAAJ' };
  const at = (line: number, column: number) => findSourcePositions(map, [{ line, column }])[0];
  t.deepEqual(at(1, 1), { source: 'a.ts', line: 1, column: 1 });
  t.deepEqual(at(1, 8), { source: 'a.ts', line: 1, column: 1 });
  t.deepEqual(at(1, 9), { source: 'b.ts', line: 3, column: 5 });
  t.deepEqual(at(2, 20), { source: 'b.ts', line: 3, column: 1 });
  t.is(at(2, 1), undefined);
  t.is(at(3, 1), undefined);
});

test('a trace through the bundle names files and lines of the sources', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'berth-bundle-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(join(folder, 'cli'));
  writeFileSync(
    join(folder, 'cli/thrower.ts'),
    "// one\n\nexport function fail(): never {\n  throw new Error('x');\n}\n",
  );
  const bundle = join(folder, '.toolchain/bundle/berth.mjs');
  await build({
    entryPoints: [join(folder, 'cli/thrower.ts')],
    outfile: bundle,
    bundle: true,
    format: 'esm',
    minifyWhitespace: true,
    sourcemap: 'linked',
    sourcesContent: false,
  });
  const { fail } = (await import(bundle)) as { fail(): never };
  const previous = Error.prepareStackTrace;
  Error.prepareStackTrace = createStackFormatter(bundle);
  t.teardown(() => {
    Error.prepareStackTrace = previous;
  });
  const { stack } = t.throws(fail);
  t.regex(stack ?? '', /^Error: x\n +at fail \(cli\/thrower\.ts:4:9\)/);
});

test('a missing map leaves the positions of the bundle', (t) => {
  const format = createStackFormatter('/nowhere/berth.mjs');
  const frame = 'fail (file:///nowhere/berth.mjs:1:100)';
  t.is(format(new Error('x'), [frame]), `Error: x\n    at ${frame}`);
});

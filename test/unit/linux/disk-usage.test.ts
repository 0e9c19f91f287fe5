import { linkSync, lstatSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { measureDiskUsage } from '../../../src/linux/disk-usage.ts';

function directory(t: ExecutionContext): string {
  const root = mkdtempSync(join(tmpdir(), 'berth-disk-'));
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  return root;
}

test('blocks and inodes of all that is below; links are not followed, sparse files count for what they hold', async (t) => {
  const root = directory(t);
  mkdirSync(join(root, 'a/b'), { recursive: true });
  writeFileSync(join(root, 'a/b/full'), Buffer.alloc(100_000, 1));
  writeFileSync(join(root, 'sparse'), '');
  truncateSync(join(root, 'sparse'), 1 << 30);
  symlinkSync('/', join(root, 'everything'));
  for (let index = 0; index < 50; index++) writeFileSync(join(root, `a/${index}`), '');
  const usage = (await measureDiskUsage(root))!;
  t.is(usage.inodes, 3 + 1 + 1 + 1 + 50);
  const full = lstatSync(join(root, 'a/b/full')).blocks * 512;
  t.true(full >= 100_000);
  t.true(usage.bytes >= full && usage.bytes < full + 64_000, `${usage.bytes} for a file of ${full}`);
});

test('hard links count once', async (t) => {
  const root = directory(t);
  writeFileSync(join(root, 'one'), Buffer.alloc(100_000, 1));
  const before = (await measureDiskUsage(root))!;
  linkSync(join(root, 'one'), join(root, 'two'));
  t.deepEqual(await measureDiskUsage(root), before);
});

test('what is mounted below is not counted, nor entered', async (t) => {
  const root = directory(t);
  mkdirSync(join(root, 'mounted'));
  const before = (await measureDiskUsage(root))!;
  writeFileSync(join(root, 'mounted/file'), Buffer.alloc(100_000, 1));
  const after = (await measureDiskUsage(root, { mountPoints: new Set([join(root, 'mounted')]) }))!;
  t.is(after.inodes, before.inodes - 1);
  t.true(after.bytes <= before.bytes);
  t.is(
    (await measureDiskUsage('/', { mountPoints: new Set(['/proc', '/sys']), signal: AbortSignal.timeout(1) }).catch(
      (error) => error.name,
    )) as unknown,
    'TimeoutError',
  );
});

test('a file, and nothing', async (t) => {
  const root = directory(t);
  writeFileSync(join(root, 'one'), Buffer.alloc(8192, 1));
  t.is((await measureDiskUsage(join(root, 'one')))?.inodes, 1);
  t.is(await measureDiskUsage(join(root, 'none')), undefined);
  t.is(await measureDiskUsage(join(root, 'one/none')), undefined);
});

test('files that come and go meanwhile are no error', async (t) => {
  const root = directory(t);
  let goes = true;
  const churn = (async () => {
    for (let index = 0; goes; index++) {
      mkdirSync(join(root, `d${index}/e`), { recursive: true });
      writeFileSync(join(root, `d${index}/e/f`), 'x');
      if (index > 20) rmSync(join(root, `d${index - 20}`), { recursive: true, force: true });
      await new Promise((resolve) => setImmediate(resolve));
    }
  })();
  for (let round = 0; round < 20; round++) t.true((await measureDiskUsage(root))!.inodes > 0);
  goes = false;
  await churn;
});

import { closeSync, constants, openSync, readlinkSync, statSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { ensureBeneath, type OpenBeneath, openBeneath, walkBeneath } from '../../../src/linux/beneath.ts';

/** A volume with all the traps, beside a directory that nobody may reach through it. */
async function scene(t: ExecutionContext) {
  const base = await realpath(await mkdtemp('/tmp/berth-unit-beneath-'));
  const volume = join(base, 'volume');
  await mkdir(join(volume, 'a/b'), { recursive: true });
  await mkdir(join(base, 'host'));
  await writeFile(join(base, 'host/secret'), 'secret');
  await writeFile(join(volume, 'a/file'), 'x');
  for (const [link, target] of [
    ['inside', 'a/b'],
    ['a/up', '../a/file'],
    ['out', '../host'],
    ['absolute', join(volume, 'a')],
    ['etc', '/etc'],
    ['loop', 'loop'],
    ['dangling', 'nothing'],
    ['far', 'a/b/../../../host/secret'],
    ['proc', '/proc/self/root/etc'],
  ] as const)
    await symlink(target, join(volume, link));
  const root = openSync(volume, constants.O_RDONLY);
  t.teardown(async () => {
    closeSync(root);
    await rm(base, { recursive: true });
  });
  const pathOf = (fd: number) => {
    const path = readlinkSync(`/proc/self/fd/${fd}`);
    closeSync(fd);
    return path.replace(volume, '');
  };
  return { base, volume, root, pathOf };
}

for (const [how, open] of [
  ['openat2', openBeneath],
  ['step by step, as on kernels before 5.6', walkBeneath],
] as [string, OpenBeneath][]) {
  test(`${how}: what lies below, links too`, async (t) => {
    const { root, pathOf } = await scene(t);
    t.is(pathOf(open(root, 'a/b')), '/a/b');
    t.is(pathOf(open(root, './a//file')), '/a/file');
    t.is(pathOf(open(root, 'inside')), '/a/b');
    t.is(pathOf(open(root, 'a/up')), '/a/file');
    t.is(pathOf(open(root, 'a/../a')), '/a');
    t.is(pathOf(open(root, '.')), '');
  });

  for (const [path, code] of [
    ['..', 'EXDEV'],
    ['a/../..', 'EXDEV'],
    ['/etc', 'EXDEV'],
    ['out', 'EXDEV'],
    ['out/secret', 'EXDEV'],
    ['far', 'EXDEV'],
    ['etc/passwd', 'EXDEV'],
    ['absolute', 'EXDEV'],
    ['proc', 'EXDEV'],
    ['loop', 'ELOOP'],
    ['dangling', 'ENOENT'],
    ['a/file/x', 'ENOTDIR'],
    ['none', 'ENOENT'],
  ] as const)
    test(`${how}: ${path} is ${code}`, async (t) => {
      const { root } = await scene(t);
      t.throws(() => open(root, path), { code });
    });

  test(`${how}: missing directories are made with the mode, whatever the umask; the rest is left alone`, async (t) => {
    const { root, volume, base, pathOf } = await scene(t);
    t.is(pathOf(ensureBeneath(root, 'a/b', 0o777, open)), '/a/b');
    t.is(pathOf(ensureBeneath(root, 'inside/new/deep', 0o777, open)), '/a/b/new/deep');
    t.is(statSync(join(volume, 'a/b/new')).mode & 0o7777, 0o777);
    t.is(statSync(join(volume, 'a')).mode & 0o7777, 0o755);
    for (const path of ['out/new', 'etc/new', '../new', 'new/../../x'])
      t.throws(() => ensureBeneath(root, path, 0o777, open), { code: 'EXDEV' });
    t.throws(
      () => ensureBeneath(root, 'dangling/x', 0o777, open),
      undefined,
      'a link that leads nowhere is not filled',
    );
    t.deepEqual(await readdir(join(base, 'host')), ['secret']);
    t.false((await readdir(volume)).includes('nothing'));
  });
}

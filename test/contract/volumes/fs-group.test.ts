import { chmod, chown, lstat, mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { applyFsGroup, type FsGroup } from '../../../agent/volumes/fs-group.ts';
import { createScene, NO_ROOT } from './scene.ts';

const real = NO_ROOT ? test.serial.skip : test.serial;
if (NO_ROOT) test(`skipped: ${NO_ROOT}`, (t) => t.pass());

const GID = 4321;

/** Mode and group of everything below, by relative path. */
async function look(root: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const path of ['', ...(await readdir(root, { recursive: true }))]) {
    // Node's walk goes through the link.
    if (path.startsWith('out/')) continue;
    const { mode, gid } = await lstat(join(root, path));
    found[path] = `${(mode & 0o7777).toString(8)} ${gid}`;
  }
  return found;
}

async function fill(volume: string, outside: string): Promise<void> {
  await mkdir(join(volume, 'a/b'), { recursive: true });
  await writeFile(join(volume, 'a/file'), '');
  await chmod(join(volume, 'a/file'), 0o600);
  await writeFile(join(volume, 'a/b/program'), '');
  await chmod(join(volume, 'a/b/program'), 0o4755);
  await symlink(outside, join(volume, 'out'));
  await chmod(volume, 0o755);
}

for (const [title, group, expected] of [
  [
    'read and write',
    { gid: GID, policy: 'Always' },
    {
      '': '2775 4321',
      a: '2775 4321',
      'a/b': '2775 4321',
      'a/b/program': '4775 4321',
      'a/file': '660 4321',
      out: '777 4321',
    },
  ],
  [
    'read only',
    { gid: GID, policy: 'Always', readOnly: true },
    {
      '': '2755 4321',
      a: '2755 4321',
      'a/b': '2755 4321',
      'a/b/program': '4755 4321',
      'a/file': '640 4321',
      out: '777 4321',
    },
  ],
] as [string, FsGroup, Record<string, string>][])
  real(`fsGroup: everything becomes the group's, ${title}; links are not followed`, async (t) => {
    const { directory } = await createScene(t);
    const volume = await directory('volume');
    const outside = await directory('outside');
    await writeFile(join(outside, 'secret'), '');
    await fill(volume, outside);
    const before = await look(outside);
    await applyFsGroup(volume, group);
    t.deepEqual(await look(volume), expected);
    t.deepEqual(await look(outside), before);
  });

real('fsGroup: OnRootMismatch looks at the root alone', async (t) => {
  const { directory } = await createScene(t);
  const volume = await directory('volume');
  await fill(volume, '/nothing');
  const group: FsGroup = { gid: GID, policy: 'OnRootMismatch' };
  await chown(volume, 0, GID);
  await chmod(volume, 0o2770);
  await applyFsGroup(volume, group);
  t.is((await look(volume))['a/file'], '600 0', 'the root is as it should be');
  await chmod(volume, 0o770);
  await applyFsGroup(volume, group);
  t.is((await look(volume))['a/file'], '660 4321', 'the root lacks its setgid bit');
  t.is((await look(volume))[''], '2770 4321');
});

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { realpathSync, statSync } from 'node:fs';
import { chmod, chown, mkdir, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import type { MountedVolume } from '../../../agent/containers/mounts.ts';
import { isMountPoint, mountFileSystem, supportsRecursiveReadOnly } from '../../../src/linux/mounts.ts';
import { createScene, NO_ROOT, sourcesOf } from './scene.ts';

const real = NO_ROOT ? test.serial.skip : test.serial;
if (NO_ROOT) test(`skipped: ${NO_ROOT}`, (t) => t.pass());

const writable = (hostPath: string): MountedVolume => ({ hostPath, readOnly: false, agentOwned: false });
const oneVolume = (hostPath: string) => new Map([['v', writable(hostPath)]]);

real('subPath: made like the volume, bound, and the same mount serves the next run of the container', async (t) => {
  const { directory, life, base } = await createScene(t);
  const volume = await directory('volume');
  await writeFile(join(volume, 'file'), 'text');
  await chmod(volume, 0o2777);
  await chown(volume, 0, 4321);
  const agent = life();
  const mounts = [{ name: 'v', subPath: 'new/deep' }, { name: 'v', subPath: 'file' }, { name: 'v' }];
  const [deep, file, whole] = await sourcesOf(agent, oneVolume(volume), mounts);
  t.is(deep, join(base, 'root/pods/uid-1/volume-subpaths/v/app/0'));
  t.is(whole, volume);
  const made = await stat(join(volume, 'new/deep'));
  t.is(made.mode & 0o7777, 0o2777, 'else a user that is not root could not write there');
  t.is(made.gid, 4321);
  await writeFile(join(deep!, 'x'), 'through the bind');
  t.is(await readFile(join(volume, 'new/deep/x'), 'utf8'), 'through the bind');
  t.is(await readFile(file!, 'utf8'), 'text');

  const count = () => readdir(join(base, 'root/pods/uid-1/volume-subpaths/v/app'));
  // Another life, another run of the container: what is mounted is found and used.
  t.deepEqual((await sourcesOf(life(), oneVolume(volume), mounts)).slice(0, 2), [deep, file]);
  t.deepEqual((await count()).toSorted(), ['0', '1']);
  // A file in place of the directory: the old mount makes way.
  await rm(join(volume, 'new/deep'), { recursive: true });
  await writeFile(join(volume, 'new/deep'), 'now a file');
  await sourcesOf(life(), oneVolume(volume), mounts);
  t.is(await readFile(deep!, 'utf8'), 'now a file');
});

for (const [title, link] of [
  ['a link out of the volume', '../host'],
  ['an absolute link', '/etc'],
  ['a link with many steps back', 'a/../../host'],
])
  real(`CVE-2017-1002101: ${title} is refused, and says nothing of the host`, async (t) => {
    const { directory, life, base } = await createScene(t);
    const volume = await directory('volume');
    await directory('volume/a');
    await directory('host');
    await symlink(link!, join(volume, 'link'));
    for (const subPath of ['link', 'link/new'])
      await t.throwsAsync(sourcesOf(life(), oneVolume(volume), [{ name: 'v', subPath }]), {
        message: 'failed to create subPath directory for volumeMount "v" of container "app"',
      });
    t.deepEqual(await readdir(join(base, 'host')), []);
  });

/** Swaps the directory `at` and a link to the host's directory as fast as it can. */
const SWAPPER = `
import { renameSync } from 'node:fs';
const [at, link] = process.argv.slice(1);
process.stdout.write('on');
for (;;) {
  try {
    renameSync(at, at + '.kept'); renameSync(link, at);
    renameSync(at, link); renameSync(at + '.kept', at);
  } catch {}
}`;

real('CVE-2021-25741: a directory that is swapped for a link while it is mounted never leads out', async (t) => {
  const { directory, life } = await createScene(t);
  const volume = await directory('volume');
  await directory('volume/sub/deep');
  const secret = await directory('host');
  await mkdir(join(secret, 'deep'));
  await symlink(secret, join(volume, 'link'));
  const swapper = spawn(process.execPath, [
    '--input-type=module',
    '-e',
    SWAPPER,
    join(volume, 'sub'),
    join(volume, 'link'),
  ]);
  try {
    await once(swapper.stdout, 'data');
    const outside = statSync(join(secret, 'deep')).ino;
    // What checking a path and then using it is worth here: else this test would prove nothing.
    let fooled = 0;
    for (let tries = 0; tries < 200_000 && fooled === 0; tries++)
      try {
        if (
          realpathSync(join(volume, 'sub/deep')).startsWith(`${volume}/`) &&
          statSync(join(volume, 'sub/deep')).ino === outside
        )
          fooled++;
      } catch {}
    t.true(fooled > 0, 'the race is on');
    const agent = life();
    let bound = 0;
    let refused = 0;
    for (let run = 0; run < 500; run++) {
      try {
        const [source] = await sourcesOf(agent, oneVolume(volume), [{ name: 'v', subPath: 'sub/deep' }]);
        t.not(statSync(source!).ino, outside);
        bound++;
      } catch (error) {
        t.regex((error as Error).message, /^failed to create subPath directory/);
        refused++;
      }
    }
    t.log(`${bound} bound, ${refused} refused`);
    t.true(bound > 0);
    t.deepEqual(await readdir(secret), ['deep']);
  } finally {
    swapper.kill('SIGKILL');
    await once(swapper, 'exit');
  }
});

const recursive = supportsRecursiveReadOnly() && !NO_ROOT ? test.serial : test.serial.skip;

recursive('recursive read-only reaches the mounts below; plain read-only binds leave them', async (t) => {
  const { directory, life } = await createScene(t);
  const volume = await directory('volume');
  const below = await directory('volume/below');
  mountFileSystem({ source: 'tmpfs', target: below, type: 'tmpfs' });
  const [source] = await sourcesOf(life(), oneVolume(volume), [
    { name: 'v', readOnly: true, recursiveReadOnly: 'Enabled' },
  ]);
  t.true(isMountPoint(source!));
  await t.throwsAsync(writeFile(join(source!, 'x'), ''), { code: 'EROFS' });
  await t.throwsAsync(writeFile(join(source!, 'below/x'), ''), { code: 'EROFS' });
  await t.notThrowsAsync(writeFile(join(below, 'x'), ''), 'the volume itself stays as it was');
});

recursive('ending a recursive bind of a shared tree leaves the mounts of the original', async (t) => {
  const { base, directory, life, mountsBelow } = await createScene(t);
  mountFileSystem({ source: 'none', target: base, flags: ['recursive', 'shared'] });
  const volume = await directory('volume');
  const below = await directory('volume/below');
  mountFileSystem({ source: 'tmpfs', target: below, type: 'tmpfs' });
  const agent = life();
  await sourcesOf(agent, oneVolume(volume), [
    { name: 'v', readOnly: true, recursiveReadOnly: 'Enabled' },
    { name: 'v', subPath: 'below', mountPropagation: 'HostToContainer' },
  ]);
  t.is(mountsBelow(join(base, 'root')).length, 3);
  t.true(await life().volumes.remove('uid-1'), 'by another life');
  t.true(isMountPoint(below));
  t.deepEqual(mountsBelow(join(base, 'root')), []);
});

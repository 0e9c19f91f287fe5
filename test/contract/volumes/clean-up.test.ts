import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { removePodDirectory } from '../../../agent/volumes/clean-up.ts';
import { createPodDirectories } from '../../../agent/volumes/pod-directories.ts';
import { mountFileSystem, readMounts, unmount } from '../../../src/linux/mounts.ts';
import { removeTree } from '../../../src/linux/remove-tree.ts';
import { createScene, NO_ROOT, podWith, sourcesOf } from './scene.ts';

const real = NO_ROOT ? test.serial.skip : test.serial;
if (NO_ROOT) test(`skipped: ${NO_ROOT}`, (t) => t.pass());

real('a tree is removed without following links or entering mounts of the same file system', async (t) => {
  const { directory, base } = await createScene(t);
  const tree = await directory('tree/a/b');
  const kept = await directory('kept');
  await writeFile(join(kept, 'file'), 'kept');
  await writeFile(Buffer.concat([Buffer.from(`${tree}/`), Buffer.from([0xff, 0xfe])]), '');
  await symlink(kept, join(base, 'tree/link'));
  await mkdir(join(base, 'tree/bound'));
  mountFileSystem({ source: kept, target: join(base, 'tree/bound'), flags: ['bind'] });
  await t.throwsAsync(removeTree(join(base, 'tree')), {
    message: /tree\/bound is a mount point: nothing in it was deleted/,
  });
  t.is(await readFile(join(kept, 'file'), 'utf8'), 'kept');
  unmount(join(base, 'tree/bound'));
  await removeTree(join(base, 'tree'));
  await removeTree(join(base, 'tree'));
  t.deepEqual(await readdir(kept), ['file']);
  await t.throwsAsync(stat(join(base, 'tree')), { code: 'ENOENT' });
});

real('R7: what somebody else mounted in a volume is neither unmounted nor deleted, and told once', async (t) => {
  const { base, directory, directories, events, life } = await createScene(t);
  const pod = podWith([
    { name: 'scratch', emptyDir: {} },
    { name: 'memory', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
  ]);
  const first = life();
  const mounted = await first.volumes.ensure(pod);
  const foreign = join(mounted.get('scratch')!.hostPath, 'mnt');
  await mkdir(foreign);
  const precious = await directory('precious');
  await writeFile(join(precious, 'data'), 'years of work');
  mountFileSystem({ source: precious, target: foreign, flags: ['bind'] });
  await sourcesOf(first, mounted, [{ name: 'memory', subPath: 'x' }]);

  const second = life();
  for (let attempt = 0; attempt < 3; attempt++) t.false(await second.volumes.remove('uid-1', pod));
  t.is(events.length, 1);
  t.regex(events[0]!, /^Warning FailedUnMount .* is kept, since something is mounted there .*scratch\/mnt/);
  t.is(await readFile(join(foreign, 'data'), 'utf8'), 'years of work');
  unmount(foreign);
  t.true(await second.volumes.remove('uid-1', pod));
  t.deepEqual(await directories.list(), []);
  t.is(await readFile(join(precious, 'data'), 'utf8'), 'years of work');
  t.deepEqual(events.length, 1);
  t.true(await second.volumes.remove('uid-1', pod), 'idempotent');
  t.deepEqual(await readdir(base), ['precious', 'root']);
});

real('another life of the agent finds a tmpfs mounted and keeps what is in it', async (t) => {
  const { life, mountsBelow, base } = await createScene(t);
  const pod = podWith([{ name: 'memory', emptyDir: { medium: 'Memory' } }]);
  const path = (await life().volumes.ensure(pod)).get('memory')!.hostPath;
  await writeFile(join(path, 'kept'), 'x');
  await life().volumes.ensure(pod);
  t.is(await readFile(join(path, 'kept'), 'utf8'), 'x');
  t.is(mountsBelow(base).length, 1);
});

real('a root directory behind a link: mounts are found all the same', async (t) => {
  const { base, directory, mountsBelow } = await createScene(t);
  await directory('elsewhere');
  await symlink(join(base, 'elsewhere'), join(base, 'link'));
  const directories = createPodDirectories(join(base, 'link'));
  const path = directories.volume('uid-1', 'kubernetes.io/empty-dir', 'memory');
  t.true(path.startsWith(join(base, 'elsewhere')));
  await mkdir(path, { recursive: true });
  mountFileSystem({ source: 'tmpfs', target: path, type: 'tmpfs' });
  await removePodDirectory(directories, 'uid-1');
  t.deepEqual(mountsBelow(base), []);
  t.deepEqual(await directories.list(), []);
});

const HUGE_PAGES = '/sys/kernel/mm/hugepages/hugepages-2048kB';
const huge = NO_ROOT || !existsSync(HUGE_PAGES) ? test.serial.skip : test.serial;

huge(`an emptyDir of huge pages is a hugetlbfs of their size (needs ${HUGE_PAGES})`, async (t) => {
  const { life, base } = await createScene(t);
  const containers = [
    {
      name: 'app',
      resources: { requests: { 'hugepages-2Mi': '2Mi' } },
      volumeMounts: [{ name: 'h', mountPath: '/h' }],
    },
  ];
  const pod = podWith([{ name: 'h', emptyDir: { medium: 'HugePages-2Mi' } }], { containers });
  const { volumes } = life();
  const path = (await volumes.ensure(pod)).get('h')!.hostPath;
  const mount = readMounts().find(({ target }) => target === path);
  t.is(mount?.type, 'hugetlbfs');
  t.true(mount?.superOptions.includes('pagesize=2M'), mount?.superOptions.join());
  t.is((await stat(path)).mode & 0o777, 0o777);
  t.true(await volumes.remove('uid-1', pod));
  t.false(readMounts().some(({ target }) => target.startsWith(`${base}/`)));
});

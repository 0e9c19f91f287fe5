import { mkdtemp, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { createEmptyDirPlugin, hugePageBytes, memoryBytes } from '../../../../agent/volumes/empty-dir.ts';
import type { Container, EmptyDirVolumeSource, Pod } from '../../../../src/kube/types.ts';
import { podOf } from '../pod.ts';

const limited = (memory?: string, more: Partial<Container> = {}): Container => ({
  name: 'app',
  ...(memory && { resources: { limits: { memory } } }),
  ...more,
});

const MIB = 2 ** 20;
for (const [title, spec, sizeLimit, mebibytes] of [
  ['nothing said: what the node has', { containers: [limited()] }, undefined, 1000],
  ['its own limit', { containers: [limited()] }, '10Mi', 10],
  ['the pod allows less', { containers: [limited('8Mi'), limited('1Mi')] }, '10Mi', 9],
  ['one container without a limit: the pod has none', { containers: [limited('8Mi'), limited()] }, '10Mi', 10],
  ['an init container may use more', { containers: [limited('1Mi')], initContainers: [limited('5Mi')] }, undefined, 5],
  ['the limit of the pod itself', { containers: [limited()], resources: { limits: { memory: '3Mi' } } }, '10Mi', 3],
  ['zero is no limit', { containers: [limited()] }, '0', 1000],
  ['more than the node has', { containers: [limited('5Gi')] }, '4Gi', 1000],
] as [string, Partial<Pod['spec']>, string | undefined, number][])
  test(`size of a tmpfs: ${title}`, (t) => {
    t.is(memoryBytes(podOf(spec), sizeLimit, 1000 * MIB), mebibytes * MIB);
  });

const pages = (...names: string[]) =>
  podOf({
    containers: [{ name: 'app', resources: { requests: Object.fromEntries(names.map((name) => [name, '4Mi'])) } }],
  });

test('huge pages: the size is the medium’s or the only one requested', (t) => {
  t.is(hugePageBytes(pages('hugepages-2Mi', 'memory'), 'HugePages'), 2 * MIB);
  t.is(hugePageBytes(pages('hugepages-2Mi', 'hugepages-1Gi'), 'HugePages-1Gi'), 1024 * MIB);
  t.throws(() => hugePageBytes(pages('hugepages-2Mi', 'hugepages-1Gi'), 'HugePages'), {
    message: "medium: HugePages can't be used if container requests multiple huge page sizes",
  });
  for (const medium of ['HugePages', 'HugePages-1Gi'])
    t.throws(() => hugePageBytes(pages('memory', ...(medium === 'HugePages' ? [] : ['hugepages-2Mi'])), medium), {
      message: `medium ${medium}: hugePages storage requested, but there is no resource request for huge pages`,
    });
});

async function scene(medium: EmptyDirVolumeSource['medium'], pod: Pod, refuse?: string) {
  const base = await mkdtemp('/tmp/berth-unit-empty-dir-');
  const mounts: object[] = [];
  const plugin = createEmptyDirPlugin({
    resources: { nodeAllocatable: () => ({ cpuMillis: 1, memoryBytes: MIB, ephemeralStorageBytes: 1 }) },
    mount(request) {
      mounts.push(request);
      if (refuse && request.data?.includes(refuse)) throw Object.assign(new Error('mount'), { code: 'EINVAL' });
    },
  });
  const volume = { name: 'v', emptyDir: { medium } };
  try {
    const made = await plugin.setUp({ pod, volume, directory: () => join(base, 'v') });
    const { mode, gid } = await stat(made.hostPath);
    return { mounts, mode: mode & 0o7777, gid, path: made.hostPath };
  } finally {
    await rm(base, { recursive: true });
  }
}

test('mounts: memory without swap, where the kernel knows that; huge pages', async (t) => {
  const { mounts, path } = await scene('Memory', podOf());
  t.deepEqual(mounts, [{ source: 'tmpfs', target: path, type: 'tmpfs', data: `size=${MIB},noswap` }]);
  const older = await scene('Memory', podOf(), 'noswap');
  t.deepEqual(older.mounts.at(-1), { source: 'tmpfs', target: older.path, type: 'tmpfs', data: `size=${MIB}` });
  const huge = await scene('HugePages', pages('hugepages-2Mi'));
  t.deepEqual(huge.mounts, [{ source: 'nodev', target: huge.path, type: 'hugetlbfs', data: `pagesize=${2 * MIB}` }]);
  await t.throwsAsync(scene('Tape', podOf()), { message: 'unknown storage medium "Tape"' });
});

test('open to every user of the pod, whatever the umask; the group of fsGroup', async (t) => {
  t.is((await scene('', podOf())).mode, 0o777);
  if (process.getuid?.() !== 0) return;
  const { mode, gid } = await scene('', podOf({ securityContext: { fsGroup: 4321 } }));
  t.deepEqual([mode, gid], [0o2777, 4321]);
});

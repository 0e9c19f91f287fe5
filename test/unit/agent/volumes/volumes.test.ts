import { mkdir, mkdtemp, readdir, readFile, readlink, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { ConfigSources } from '../../../../agent/pods/ports.ts';
import { writeAtomically } from '../../../../agent/volumes/atomic-writer.ts';
import { buildPayload } from '../../../../agent/volumes/payload.ts';
import { createPodDirectories } from '../../../../agent/volumes/pod-directories.ts';
import { createVolumes } from '../../../../agent/volumes/volumes.ts';
import type { Volume } from '../../../../src/kube/types.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { mounting, podOf } from '../pod.ts';

async function directory(t: ExecutionContext): Promise<string> {
  const path = await mkdtemp('/tmp/berth-unit-volumes-');
  t.teardown(() => rm(path, { recursive: true, force: true }));
  return path;
}

const files = (entries: Record<string, string>, mode = 0o644) =>
  new Map(Object.entries(entries).map(([path, text]) => [path, { data: Buffer.from(text), mode }]));

test('atomic writer: links, one swap, no write without change', async (t) => {
  const target = join(await directory(t), 'v');
  t.true(await writeAtomically(target, files({ a: '1', 'dir/b': '2' })));
  t.is(await readFile(join(target, 'a'), 'utf8'), '1');
  t.is(await readFile(join(target, 'dir/b'), 'utf8'), '2');
  t.is(await readlink(join(target, 'a')), '..data/a');
  t.is(await readlink(join(target, 'dir')), '..data/dir');
  const first = await readlink(join(target, '..data'));
  t.regex(first, /^\.\.\d{4}(_\d\d){5}\.[0-9a-f]{10}$/);
  t.false(await writeAtomically(target, files({ a: '1', 'dir/b': '2' })));
  t.is(await readlink(join(target, '..data')), first);

  t.true(await writeAtomically(target, files({ a: 'changed', c: '3' })));
  t.deepEqual(
    (await readdir(target)).toSorted(),
    [await readlink(join(target, '..data')), '..data', 'a', 'c'].toSorted(),
  );
  t.is(await readFile(join(target, 'a'), 'utf8'), 'changed');
});

test('atomic writer: modes hold against the umask; a changed mode is a change', async (t) => {
  const target = join(await directory(t), 'v');
  await writeAtomically(target, files({ a: '1' }, 0o777));
  t.is((await stat(join(target, 'a'))).mode & 0o777, 0o777);
  t.true(await writeAtomically(target, files({ a: '1' }, 0o400)));
  t.is((await stat(join(target, 'a'))).mode & 0o777, 0o400);
});

test('atomic writer: what a crash left behind is cleared', async (t) => {
  const target = join(await directory(t), 'v');
  await writeAtomically(target, files({ a: '1' }));
  await mkdir(join(target, '..2020_01_01_00_00_00.dead'));
  await symlink('..2020_01_01_00_00_00.dead', join(target, '..data_tmp'));
  await writeAtomically(target, files({ a: '2' }));
  t.is((await readdir(target)).length, 3);
  t.is(await readFile(join(target, 'a'), 'utf8'), '2');
});

test('CVE-2017-1002102: links that a container put in the way are replaced, never followed', async (t) => {
  const base = await directory(t);
  const target = join(base, 'v');
  const outside = join(base, 'host');
  await mkdir(join(outside, 'dir'), { recursive: true });
  await writeFile(join(outside, 'file'), 'of the host');
  await writeFile(join(outside, 'dir/b'), 'of the host');
  await mkdir(target);
  for (const [link, to] of [
    ['..data', '../host'],
    ['..data_tmp', '../host'],
    ['a', '../host/file'],
    ['dir', '../host/dir'],
    ['old', '../host'],
  ] as const)
    await symlink(to, join(target, link));
  t.true(await writeAtomically(target, files({ a: 'new', 'dir/b': 'new' })));
  t.is(await readFile(join(target, 'a'), 'utf8'), 'new');
  t.is(await readFile(join(target, 'dir/b'), 'utf8'), 'new');
  t.deepEqual((await readdir(outside)).toSorted(), ['dir', 'file']);
  t.is(await readFile(join(outside, 'file'), 'utf8'), 'of the host');
  t.is(await readFile(join(outside, 'dir/b'), 'utf8'), 'of the host');
  t.deepEqual((await readdir(target)).filter((name) => !name.startsWith('..')).toSorted(), ['a', 'dir']);
});

for (const path of ['../x', '/x', '..x', 'a/../../b', ''])
  test(`atomic writer refuses ${JSON.stringify(path)}`, async (t) => {
    await t.throwsAsync(writeAtomically(join(await directory(t), 'v'), files({ [path]: '1' })), {
      message: /invalid path/,
    });
  });

const config: ConfigSources = {
  configMap: async (_, name) =>
    name === 'conf'
      ? { data: { a: 'A', b: 'B' }, binaryData: { bin: Buffer.from([0, 255]).toString('base64') } }
      : undefined,
  secret: async (_, name) => (name === 'key' ? { data: { k: Buffer.from('v').toString('base64') } } : undefined),
};

const ALLOCATABLE = { cpuMillis: 4000, memoryBytes: 2 ** 32, ephemeralStorageBytes: 2 ** 36 };

async function payloadOf(source: Omit<Volume, 'name'>): Promise<Record<string, string>> {
  const pod = podOf(
    { containers: [{ name: 'app', image: 'i', resources: { limits: { cpu: '2' } } }] },
    { labels: { b: '2', a: 'x "y"' } },
  );
  const payload = await buildPayload(pod, { name: 'v', ...source }, { config, allocatable: ALLOCATABLE });
  return Object.fromEntries(
    [...payload].map(([path, { data, mode }]) => [path, `${mode.toString(8)} ${data.toString('latin1')}`]),
  );
}

test('configMap: all keys, items, modes, optional', async (t) => {
  t.deepEqual(await payloadOf({ configMap: { name: 'conf' } }), { a: '644 A', b: '644 B', bin: '644 \0ÿ' });
  t.deepEqual(
    await payloadOf({
      configMap: {
        name: 'conf',
        defaultMode: 0o600,
        items: [
          { key: 'a', path: 'x/y' },
          { key: 'b', path: 'z', mode: 0o400 },
        ],
      },
    }),
    { 'x/y': '600 A', z: '400 B' },
  );
  t.deepEqual(await payloadOf({ configMap: { name: 'none', optional: true } }), {});
  await t.throwsAsync(payloadOf({ configMap: { name: 'none' } }), { message: 'configmap "none" not found' });
  await t.throwsAsync(payloadOf({ configMap: { name: 'conf', items: [{ key: 'q', path: 'q' }] } }), {
    message: 'configmap references non-existent key: q',
  });
});

test('secret, downwardAPI, projected', async (t) => {
  t.deepEqual(await payloadOf({ secret: { secretName: 'key' } }), { k: '644 v' });
  t.deepEqual(
    await payloadOf({
      downwardAPI: {
        items: [
          { path: 'labels', fieldRef: { fieldPath: 'metadata.labels' } },
          { path: 'cpu', resourceFieldRef: { containerName: 'app', resource: 'limits.cpu', divisor: '1m' } },
        ],
      },
    }),
    { labels: '644 a="x \\"y\\""\nb="2"', cpu: '644 2000' },
  );
  t.deepEqual(
    await payloadOf({
      projected: {
        defaultMode: 0o440,
        sources: [
          {
            configMap: {
              name: 'conf',
              items: [
                { key: 'a', path: 'k' },
                { key: 'b', path: 'b' },
              ],
            },
          },
          { secret: { name: 'key' } },
        ],
      },
    }),
    { k: '440 v', b: '440 B' },
  );
  await t.throwsAsync(payloadOf({ projected: { sources: [{ clusterTrustBundle: { path: 'x' } }] } }), {
    message: /clusterTrustBundle is not supported yet/,
  });
});

test('volumes of a pod: made, refreshed, refused by name with an event', async (t) => {
  const root = await directory(t);
  const directories = createPodDirectories(root);
  const events: string[] = [];
  const volumes = createVolumes({
    directories,
    config,
    resources: { nodeAllocatable: () => ALLOCATABLE },
    log: silentLogger,
    events: { event: (_p, type, reason, message) => events.push(`${type} ${reason} ${message}`) },
  });
  await writeFile(join(root, 'file'), '');
  const used = mounting([
    { name: 'scratch', emptyDir: {} },
    { name: 'conf', configMap: { name: 'conf' } },
    { name: 'host', hostPath: { path: root, type: 'Directory' } },
  ]);
  const unused = { name: 'unused', configMap: { name: 'not there' } };
  const pod = podOf({ ...used, volumes: [...used.volumes!, unused] });
  const mounted = await volumes.ensure(pod);
  const scratch = mounted.get('scratch')!.hostPath;
  t.is(scratch, join(root, 'pods/uid-1/volumes/kubernetes.io~empty-dir/scratch'));
  t.is((await stat(scratch)).mode & 0o7777, 0o777);
  t.is(await readFile(join(mounted.get('conf')!.hostPath, 'a'), 'utf8'), 'A');
  t.deepEqual(mounted.get('host'), { hostPath: root, readOnly: false, agentOwned: false });
  await writeFile(join(scratch, 'kept'), 'x');
  await volumes.ensure(pod);
  t.is(await readFile(join(scratch, 'kept'), 'utf8'), 'x');

  const bad = podOf(
    mounting([
      { name: 'claim', persistentVolumeClaim: { claimName: 'c' } },
      { name: 'host', hostPath: { path: join(root, 'file'), type: 'Directory' } },
    ]),
  );
  await t.throwsAsync(volumes.ensure(bad), { instanceOf: AggregateError });
  t.deepEqual(events, [
    'Warning FailedMount MountVolume.SetUp failed for volume "claim" : failed to get Plugin from volumeSpec for volume "claim" err=no volume plugin matched persistentVolumeClaim',
    `Warning FailedMount MountVolume.SetUp failed for volume "host" : hostPath type check failed: ${root}/file is not a directory`,
  ]);
  t.true(await volumes.remove('uid-1'));
  t.deepEqual(await directories.list(), []);
  t.false(await volumes.remove('..'), 'no pod UID');
});

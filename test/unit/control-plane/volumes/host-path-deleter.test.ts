import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { deleteHostPath } from '../../../../control-plane/controllers/volumes/host-path-deleter.ts';

test('a volume below /tmp goes with all that is in it; what is gone already is fine', async (t) => {
  const base = await mkdtemp('/tmp/berth-delete-');
  t.teardown(() => rm(base, { recursive: true, force: true }));
  await mkdir(join(base, 'volume/sub'), { recursive: true });
  await writeFile(join(base, 'volume/sub/file'), '');
  await deleteHostPath(join(base, 'volume'));
  t.deepEqual(await readdir(base), []);
  await t.notThrowsAsync(deleteHostPath(join(base, 'volume')));
  await t.notThrowsAsync(deleteHostPath(join(base, 'no/such/volume')));
});

for (const path of ['/', '/tmp', '/tmp/', '/srv/x', '/tmp/../etc', '/tmpx/y', 'tmp/x'])
  test(`nothing else is touched: ${path}`, async (t) => {
    await t.throwsAsync(deleteHostPath(path), {
      message: `host_path deleter only supports /tmp/.+ but received provided ${path}`,
    });
  });

test('a link leads nowhere: neither on the way nor at the end', async (t) => {
  const base = await mkdtemp('/tmp/berth-delete-');
  const outside = await mkdtemp('/var/tmp/berth-outside-');
  t.teardown(() => Promise.all([base, outside].map((path) => rm(path, { recursive: true, force: true }))));
  await mkdir(join(outside, 'data'));
  await symlink(outside, join(base, 'link'));
  await t.throwsAsync(deleteHostPath(join(base, 'link/data')), { message: /leads to \/var\/tmp\/berth-outside-/ });
  t.deepEqual(await readdir(outside), ['data']);
  await deleteHostPath(join(base, 'link'));
  t.deepEqual(await readdir(outside), ['data']);
  t.deepEqual(await readdir(base), []);
});

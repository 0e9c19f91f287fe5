import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { ensureClusterPki } from '../../../cli/pki/cluster-pki.ts';

async function scene(t: ExecutionContext) {
  const folder = await mkdtemp('/tmp/berth-unit-pki-');
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const ensure = () =>
    ensureClusterPki({
      folder,
      nodeName: 'n1',
      nodeIps: ['192.0.2.1'],
      apiServerIps: ['127.0.0.1'],
      apiServerNames: ['localhost'],
      nowMs: Date.now(),
    });
  return { folder, ensure };
}

test('the key of service account tokens is made once and stays: tokens outlive a restart', async (t) => {
  const { folder, ensure } = await scene(t);
  const { serviceAccountKey: first } = await ensure();
  const token = await first.sign({ sub: 'me' });
  const { serviceAccountKey: second } = await ensure();
  t.is(second.keyId, first.keyId);
  await t.notThrowsAsync(second.verify(token));
  t.is((await stat(join(folder, 'sa.key'))).mode & 0o777, 0o600);
  t.is(await readFile(join(folder, 'sa.pub'), 'utf8'), first.publicPem);
});

test('a key that can not be read is named, and not replaced', async (t) => {
  const { folder, ensure } = await scene(t);
  const path = join(folder, 'sa.key');
  await writeFile(path, 'rubbish');
  await t.throwsAsync(ensure(), {
    message: new RegExp(`^${path}: the service account key is not a private key in PEM`),
  });
  t.is(await readFile(path, 'utf8'), 'rubbish');
});

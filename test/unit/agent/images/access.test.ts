import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { createImageAccess } from '../../../../agent/images/access.ts';
import { matchCredentials, mergeCredentials } from '../../../../agent/images/credential-mapping.ts';
import type { Credential } from '../../../../agent/images/keyring.ts';
import { createPullRecords } from '../../../../agent/images/pull-records.ts';
import { allowlistProblem, mustVerify, type VerificationPolicy } from '../../../../agent/images/verification.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { createFakeClock } from '../../../fakes/clock.ts';

const secret = (name: string, hash: string, namespace = 'default'): Credential => ({
  auth: {},
  hash,
  source: { secret: { uid: `uid-${namespace}-${name}`, namespace, name } },
});
const account = (name: string): Credential => ({
  auth: {},
  hash: 'changes with each token',
  source: { serviceAccount: { uid: `uid-${name}`, namespace: 'default', name } },
});
const recordOf = (name: string, credentialHash: string, namespace = 'default') => ({
  uid: `uid-${namespace}-${name}`,
  namespace,
  name,
  credentialHash,
});

for (const [policy, pulledByUs, image, expected] of [
  ['NeverVerify', true, 'a.example/x', false],
  ['NeverVerifyPreloadedImages', false, 'a.example/x', false],
  ['NeverVerifyPreloadedImages', true, 'a.example/x', true],
  ['NeverVerifyAllowlistedImages', true, 'a.example/ok:1', false],
  ['NeverVerifyAllowlistedImages', true, 'a.example/okay:1', true],
  ['NeverVerifyAllowlistedImages', true, 'b.example/team/x:2', false],
  ['NeverVerifyAllowlistedImages', false, 'b.example/team/x:1', false],
  ['NeverVerifyAllowlistedImages', false, 'b.example/x', true],
  ['NeverVerifyAllowlistedImages', false, 'nginx', false],
  ['AlwaysVerify', false, 'a.example/x', true],
] as [VerificationPolicy, boolean, string, boolean][])
  test(`${policy}: ${image} ${pulledByUs ? 'pulled' : 'preloaded'}: ${expected ? 'verified' : 'not verified'}`, (t) => {
    const allowlist = ['a.example/ok', 'b.example/team/*', 'docker.io/library/nginx'];
    t.is(mustVerify({ policy, allowlist }, image, pulledByUs), expected);
  });

for (const [pattern, problem] of [
  ['registry.example/*', undefined],
  ['registry.example/team/app', undefined],
  [' registry.example/a', 'leading/trailing spaces are not allowed'],
  ['', 'the pattern is too short'],
  ['registry.example/*/a', "only patterns ending with '/*' are allowed"],
  ['*', "only patterns ending with '/*' are allowed"],
  ['/*', 'at least a registry host name is required'],
  ['registry.example/a:1', 'neither tag nor digest is accepted'],
  ['nginx', 'the whole name is needed: docker.io/library/nginx'],
  ['registry.example/A', 'invalid reference format: repository name (A) must be lowercase'],
] as const)
  test(`allowlist pattern ${JSON.stringify(pattern)}`, (t) => {
    t.is(allowlistProblem(pattern), problem);
  });

test('who is let in: the same content, the same secret, the same service account', (t) => {
  const known = {
    kubernetesSecrets: [recordOf('s', 'h1')],
    kubernetesServiceAccounts: [{ uid: 'uid-a', namespace: 'default', name: 'a' }],
  };
  t.deepEqual(matchCredentials(known, [secret('s', 'h1')]), { learned: undefined });
  t.deepEqual(matchCredentials(known, [secret('copy', 'h1', 'other')]), {
    learned: { kubernetesSecrets: [recordOf('copy', 'h1', 'other')] },
  });
  t.deepEqual(matchCredentials(known, [secret('s', 'h2')]), { learned: { kubernetesSecrets: [recordOf('s', 'h2')] } });
  t.false(matchCredentials(known, [secret('copy', 'h2', 'other')]));
  t.false(matchCredentials(known, []));
  t.deepEqual(matchCredentials(known, [account('a')]), { learned: undefined });
  t.false(matchCredentials(known, [account('b')]));
  t.deepEqual(matchCredentials({ nodePodsAccessible: true }, []), { learned: undefined });
  t.false(matchCredentials({}, [secret('s', 'h1')]));
  t.false(matchCredentials({ kubernetesSecrets: [recordOf('s', '')] }, [{ ...secret('t', ''), hash: '' }]));
});

test('a hundred secrets are remembered, not more', (t) => {
  const kubernetesSecrets = Array.from({ length: 100 }, (_, index) => recordOf(`s${index}`, 'h'));
  t.deepEqual(matchCredentials({ kubernetesSecrets }, [secret('new', 'h')]), { learned: undefined });
  t.false(matchCredentials({ kubernetesSecrets }, [secret('s1', 'rotated')]));
});

test('credentials are merged: one entry a secret, sorted; node-wide access stands above', (t) => {
  const known = { kubernetesSecrets: [recordOf('b', 'h1')] };
  t.deepEqual(mergeCredentials(known, { kubernetesSecrets: [recordOf('a', 'h1')] }), {
    kubernetesSecrets: [recordOf('a', 'h1'), recordOf('b', 'h1')],
  });
  t.deepEqual(mergeCredentials(known, { kubernetesSecrets: [recordOf('b', 'h2')] }), {
    kubernetesSecrets: [recordOf('b', 'h2')],
  });
  t.is(mergeCredentials(known, known), undefined);
  t.is(mergeCredentials(known, {}), undefined);
  t.deepEqual(mergeCredentials(known, { nodePodsAccessible: true }), { nodePodsAccessible: true });
  t.is(mergeCredentials({ nodePodsAccessible: true }, known), undefined);
});

async function setUp(t: ExecutionContext, policy: VerificationPolicy = 'NeverVerifyPreloadedImages') {
  const folder = await mkdtemp(join(tmpdir(), 'berth-records-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const clock = createFakeClock();
  const results: string[] = [];
  const restart = () =>
    createImageAccess(
      { policy, allowlist: [] },
      {
        records: createPullRecords(folder),
        metrics: { verified: (result) => results.push(result) },
        clock,
        log: silentLogger,
      },
    );
  const pulledFiles = () => readdir(join(folder, 'image_manager/pulled'));
  return { folder, clock, results, restart, access: restart(), pulledFiles };
}
const never = async (): Promise<Credential[]> => {
  throw new Error('nobody should look');
};
const offer =
  (...credentials: Credential[]) =>
  async () =>
    credentials;
const IMAGE = 'registry.example/team/app:1';
const REF = `sha256:${'a'.repeat(64)}`;
const summary = (repoTags: string[]) => ({ id: REF, repoTags, repoDigests: [], sizeBytes: 1, createdAtMs: 0 });

test('a preloaded image is everybody’s; with AlwaysVerify nobody’s', async (t) => {
  const preloaded = await setUp(t);
  t.false(await preloaded.access.mustPull(IMAGE, REF, never));
  const strict = await setUp(t, 'AlwaysVerify');
  t.true(await strict.access.mustPull(IMAGE, REF, never));
  t.deepEqual([...preloaded.results, ...strict.results], ['credentialPolicyAllowed', 'mustAuthenticate']);
});

test('pulled with a secret: for those who show it, by that name, also after a restart', async (t) => {
  const { access, restart, folder, pulledFiles } = await setUp(t);
  await access.pullBegins(IMAGE);
  t.true(await access.mustPull(IMAGE, REF, never), 'while it is being pulled nobody knows whose it is');
  await access.pullSucceeded(IMAGE, REF, { kubernetesSecrets: [recordOf('s', 'h1')] });
  for (const one of [access, restart()]) {
    t.false(await one.mustPull(IMAGE, REF, offer(secret('s', 'h1'))));
    t.true(await one.mustPull(IMAGE, REF, offer()));
    t.true(await one.mustPull(IMAGE, REF, offer(secret('s', 'h9', 'other'))));
    t.true(await one.mustPull('registry.example/other:1', REF, never), 'the same content under another name');
  }
  const [file] = await pulledFiles();
  t.is(file, `sha256-${(await import('node:crypto')).createHash('sha256').update(REF).digest('hex')}`);
  t.deepEqual(JSON.parse(await readFile(join(folder, 'image_manager/pulled', file!), 'utf8')), {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'ImagePulledRecord',
    lastUpdatedTime: '2026-01-01T00:00:00Z',
    imageRef: REF,
    credentialMapping: { 'registry.example/team/app': { kubernetesSecrets: [recordOf('s', 'h1')] } },
  });
  t.deepEqual(await readdir(join(folder, 'image_manager/pulling')), []);
});

test('pulled without credentials: everybody’s', async (t) => {
  const { access } = await setUp(t);
  await access.pullBegins(IMAGE);
  await access.pullSucceeded(IMAGE, REF, { nodePodsAccessible: true });
  t.false(await access.mustPull(IMAGE, REF, never));
});

test('what is let in is learned: the rotated secret counts, then its copy elsewhere', async (t) => {
  const { access } = await setUp(t);
  await access.pullBegins(IMAGE);
  await access.pullSucceeded(IMAGE, REF, { kubernetesSecrets: [recordOf('s', 'h1')] });
  t.false(await access.mustPull(IMAGE, REF, offer(secret('s', 'h2'))));
  t.false(await access.mustPull(IMAGE, REF, offer(secret('copy', 'h2', 'other'))));
});

test('an agent that died in a pull: the image is not taken for a preloaded one', async (t) => {
  const { access, restart, folder } = await setUp(t);
  await access.pullBegins(IMAGE);
  const next = restart();
  t.true(await next.mustPull(IMAGE, REF, never));
  await next.recover([summary(['registry.example/team/app:1'])]);
  t.deepEqual(await readdir(join(folder, 'image_manager/pulling')), []);
  t.true(await next.mustPull(IMAGE, REF, offer(secret('s', 'h1'))));
});

test('a failed pull leaves no trace; of two at once the last takes it away', async (t) => {
  const { access, folder } = await setUp(t);
  const intents = () => readdir(join(folder, 'image_manager/pulling'));
  await access.pullBegins(IMAGE);
  await access.pullBegins(IMAGE);
  await access.pullFailed(IMAGE);
  t.is((await intents()).length, 1);
  await access.pullFailed(IMAGE);
  t.deepEqual(await intents(), []);
  t.false(await access.mustPull(IMAGE, REF, never));
});

test('records of images that are gone are dropped, young ones not', async (t) => {
  const { access, clock, pulledFiles } = await setUp(t);
  await access.pullBegins(IMAGE);
  await access.pullSucceeded(IMAGE, REF, { nodePodsAccessible: true });
  await access.prune([], clock.nowMs());
  t.is((await pulledFiles()).length, 1);
  await access.prune([summary([])], clock.nowMs() + 60_000);
  t.is((await pulledFiles()).length, 1);
  await access.prune([], clock.nowMs() + 60_000);
  t.is((await pulledFiles()).length, 0);
});

test('an unreadable record lets nobody in, and is written anew by the next pull; those of older kubelets are read', async (t) => {
  const { access, folder, pulledFiles, results } = await setUp(t);
  await access.pullBegins(IMAGE);
  await access.pullSucceeded(IMAGE, REF, { nodePodsAccessible: true });
  const file = join(folder, 'image_manager/pulled', (await pulledFiles())[0]!);
  const good = await readFile(file, 'utf8');
  await writeFile(file, good.slice(0, 20));
  t.true(await access.mustPull(IMAGE, REF, never));
  t.is(results.at(-1), 'error');
  await access.pullBegins(IMAGE);
  await access.pullSucceeded(IMAGE, REF, { nodePodsAccessible: true });
  t.false(await access.mustPull(IMAGE, REF, never));
  await writeFile(file, good.replace('v1beta1', 'v1alpha1'));
  t.false(await access.mustPull(IMAGE, REF, never));
});

test('a record that cannot be written stops the pull: nothing may come here unrecorded', async (t) => {
  const { access, folder } = await setUp(t);
  await writeFile(join(folder, 'image_manager'), 'in the way');
  await t.throwsAsync(access.pullBegins(IMAGE), { message: /^failed to record image pull intent: / });
});

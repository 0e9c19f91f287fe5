import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { readCredentialProviderConfig } from '../../../../agent/images/credential-providers/config.ts';
import { createCredentialProviders } from '../../../../agent/images/credential-providers/providers.ts';
import { lookUpCredentials } from '../../../../agent/images/keyring.ts';
import { ConfigError } from '../../../../src/config/load.ts';
import type { Pod, ServiceAccount } from '../../../../src/kube/types.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { createFakeClock } from '../../../fakes/clock.ts';
import { podOf } from '../pod.ts';

async function folderOf(t: ExecutionContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'berth-plugins-'));
  t.teardown(() => rm(folder, { recursive: true }));
  return folder;
}

const configOf = (...providers: object[]) =>
  JSON.stringify({ apiVersion: 'kubelet.config.k8s.io/v1', kind: 'CredentialProviderConfig', providers });
const provider = (more: object = {}) => ({
  name: 'plugin',
  matchImages: ['*.example'],
  defaultCacheDuration: '10m',
  apiVersion: 'credentialprovider.kubelet.k8s.io/v1',
  ...more,
});

/** Plugins that are shell scripts; each writes down what it was asked. */
async function setUp(t: ExecutionContext, script: string, more: object = {}, accounts: Partial<ServiceAccount>[] = []) {
  const folder = await folderOf(t);
  const program = join(folder, 'plugin');
  await writeFile(program, `#!/bin/sh\necho run >>${folder}/runs\ncat >${folder}/request\n${script}\n`);
  await chmod(program, 0o755);
  await writeFile(join(folder, 'config.json'), configOf(provider(more)));
  const clock = createFakeClock();
  const ran: string[] = [];
  const providers = createCredentialProviders(
    {
      ...readCredentialProviderConfig(join(folder, 'config.json')),
      binDir: folder,
      environment: { FROM_AGENT: 'a', BOTH: 'agent' },
    },
    {
      metrics: { pluginRan: (name, _seconds, ok) => ran.push(`${name} ${ok}`) },
      tokens: {
        token: async (pod, { audience }) => `token of ${pod.metadata.name} for ${audience}`,
        forget() {},
      },
      serviceAccount: async (namespace, name) =>
        accounts.find(({ metadata }) => metadata?.name === name && metadata.namespace === namespace) as ServiceAccount,
      clock,
      log: silentLogger,
    },
  );
  return {
    clock,
    ran,
    async ask(repository: string, pod: Pod = podOf()) {
      const found = lookUpCredentials(await providers.ask(pod, repository), repository);
      return found.map(
        ({ auth, source }) => `${auth.username}:${auth.password}${source ? JSON.stringify(source) : ''}`,
      );
    },
    providers,
    request: async () => JSON.parse(await readFile(join(folder, 'request'), 'utf8')),
    runs: async () => (await readFile(join(folder, 'runs'), 'utf8').catch(() => '')).split('\n').length - 1,
  };
}

const answer = (cacheKeyType: string, auth: object, more: object = {}) =>
  `echo '${JSON.stringify({
    kind: 'CredentialProviderResponse',
    apiVersion: 'credentialprovider.kubelet.k8s.io/v1',
    cacheKeyType,
    auth,
    ...more,
  })}'`;
const anyone = { '*.example': { username: 'u', password: 'p' } };

test('a plugin is asked with the image’s name, its arguments and both environments', async (t) => {
  const script = `printf '{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"Image","auth":{"*.example":{"username":"%s","password":"%s"}}}' "$1-$FROM_AGENT" "$BOTH"`;
  const { ask, request, ran } = await setUp(t, script, { args: ['arg'], env: [{ name: 'BOTH', value: 'config' }] });
  t.deepEqual(await ask('reg.example/app'), ['arg-a:config']);
  t.deepEqual(await request(), {
    kind: 'CredentialProviderRequest',
    apiVersion: 'credentialprovider.kubelet.k8s.io/v1',
    image: 'reg.example/app',
  });
  t.deepEqual(ran, ['plugin true']);
  t.deepEqual(await ask('other.test/app'), []);
  t.is(ran.length, 1, 'matchImages say whom to ask');
});

for (const [kind, same, other] of [
  ['Image', 'reg.example/a', 'reg.example/b'],
  ['Registry', 'reg.example/b', 'two.example/a'],
  ['Global', 'two.example/a', undefined],
] as const)
  test(`answers are kept by ${kind}, for the default time`, async (t) => {
    const { ask, runs, clock } = await setUp(t, answer(kind, anyone));
    await ask('reg.example/a');
    t.deepEqual(await ask(same), ['u:p']);
    t.is(await runs(), 1);
    if (other) {
      await ask(other);
      t.is(await runs(), 2);
    }
    await clock.advance(600_001);
    const before = await runs();
    await ask('reg.example/a');
    t.is(await runs(), before + 1);
  });

test('the answer’s own time counts; 0 is not kept', async (t) => {
  const short = await setUp(t, answer('Image', anyone, { cacheDuration: '30s' }));
  await short.ask('reg.example/a');
  await short.clock.advance(29_000);
  await short.ask('reg.example/a');
  t.is(await short.runs(), 1);
  await short.clock.advance(2000);
  await short.ask('reg.example/a');
  t.is(await short.runs(), 2);
  const none = await setUp(t, answer('Image', anyone, { cacheDuration: '0s' }));
  await none.ask('reg.example/a');
  await none.ask('reg.example/a');
  t.is(await none.runs(), 2);
});

test('who asks the same at once waits for one run', async (t) => {
  const { ask, runs } = await setUp(t, `sleep 0.2; ${answer('Image', anyone)}`);
  await Promise.all([ask('reg.example/a'), ask('reg.example/a')]);
  t.is(await runs(), 1);
});

for (const [what, script] of [
  ['exits 1', 'echo broken >&2; exit 1'],
  ['answers no JSON', 'echo hello'],
  ['answers something else', `echo '{"kind":"Other"}'`],
  ['answers in another version', answer('Image', anyone, { apiVersion: 'credentialprovider.kubelet.k8s.io/v1beta1' })],
  ['answers an unknown cacheKeyType', answer('Pod', anyone)],
  ['answers unknown fields', answer('Image', anyone, { more: 1 })],
  ['answers a duration that is none', answer('Image', anyone, { cacheDuration: 'long' })],
] as const)
  test(`a plugin that ${what} gives nothing`, async (t) => {
    const { ask, ran } = await setUp(t, script);
    t.deepEqual(await ask('reg.example/a'), []);
    t.is(ran.length, 1);
    t.is(ran[0] === 'plugin false', true, ran[0]);
  });

const tokenAttributes = {
  serviceAccountTokenAudience: 'registry',
  cacheType: 'ServiceAccount',
  requireServiceAccount: true,
  requiredServiceAccountAnnotationKeys: ['example.com/id'],
  optionalServiceAccountAnnotationKeys: ['example.com/more'],
};
const account = (annotations: Record<string, string>) => ({
  metadata: { name: 'sa', namespace: 'default', uid: 'sa-uid', annotations } as never,
});
const runAs = (name: string, uid = `uid-${name}`) => podOf({ serviceAccountName: 'sa' }, { name, uid });

test('tokens of the pod’s service account, with its annotations; answers are the account’s', async (t) => {
  const { ask, request, runs } = await setUp(t, answer('Image', anyone), { tokenAttributes }, [
    account({ 'example.com/id': '7', unrelated: 'x' }),
  ]);
  const source = '{"serviceAccount":{"uid":"sa-uid","namespace":"default","name":"sa"}}';
  t.deepEqual(await ask('reg.example/a', runAs('one')), [`u:p${source}`]);
  t.like(await request(), {
    serviceAccountToken: 'token of one for registry',
    serviceAccountAnnotations: { 'example.com/id': '7' },
  });
  await ask('reg.example/a', runAs('two'));
  t.is(await runs(), 1);
  t.deepEqual(await ask('reg.example/a', podOf()), [], 'a pod without a service account');
  t.is(await runs(), 1);
});

test('answers for one token are not given for another', async (t) => {
  const attributes = { ...tokenAttributes, cacheType: 'Token', requiredServiceAccountAnnotationKeys: [] };
  const { ask, runs } = await setUp(t, answer('Image', anyone), { tokenAttributes: attributes }, [account({})]);
  await ask('reg.example/a', runAs('one'));
  await ask('reg.example/a', runAs('one'));
  t.is(await runs(), 1);
  await ask('reg.example/a', runAs('two'));
  t.is(await runs(), 2);
});

test('accounts without the annotation have not opted in; pods without one may be served', async (t) => {
  const { ask, runs } = await setUp(t, answer('Image', anyone), { tokenAttributes }, [account({})]);
  t.deepEqual(await ask('reg.example/a', runAs('one')), []);
  t.is(await runs(), 0);
  const attributes = { ...tokenAttributes, requireServiceAccount: false, requiredServiceAccountAnnotationKeys: [] };
  const open = await setUp(t, answer('Image', anyone), { tokenAttributes: attributes });
  t.deepEqual(await open.ask('reg.example/a', podOf()), ['u:p']);
  t.false('serviceAccountToken' in (await open.request()));
  t.deepEqual(await open.ask('reg.example/a', runAs('one')), [], 'its account does not exist');
});

test('a folder of configurations', async (t) => {
  const folder = await folderOf(t);
  await writeFile(join(folder, 'b.json'), configOf(provider({ name: 'b' })));
  await writeFile(join(folder, 'a.yaml'), configOf(provider({ name: 'a' })));
  await writeFile(join(folder, 'readme.txt'), 'not this');
  await mkdir(join(folder, 'c.json'));
  const { providers, hash } = readCredentialProviderConfig(folder);
  t.deepEqual(
    providers.map(({ name }) => name),
    ['a', 'b'],
  );
  t.regex(hash, /^sha256:[0-9a-f]{64}$/);
  await writeFile(join(folder, 'd.yml'), configOf(provider({ name: 'b' })));
  t.throws(() => readCredentialProviderConfig(folder), { message: /d\.yml: provider "b" stands in .*b\.json already/ });
});

for (const [what, text, message] of [
  ['no providers', configOf(), /providers: at least one is required/],
  ['a path as name', configOf(provider({ name: '../x' })), /providers\.0\.name: a program's name/],
  ['no images', configOf(provider({ matchImages: [] })), /providers\.0\.matchImages: at least one is required/],
  ['no duration', configOf(provider({ defaultCacheDuration: 'long' })), /defaultCacheDuration: expected a duration/],
  [
    'a negative duration',
    configOf(provider({ defaultCacheDuration: '-1s' })),
    /defaultCacheDuration: expected a duration/,
  ],
  ['another API', configOf(provider({ apiVersion: 'v1' })), /providers\.0\.apiVersion/],
  ['an unknown field', configOf(provider({ more: 1 })), /providers\.0: .*more/],
  ['another kind', configOf(provider()).replace('CredentialProviderConfig', 'Other'), /kind/],
  ['broken YAML', '{', /not YAML/],
  [
    'tokens in v1beta1',
    configOf(provider({ apiVersion: 'credentialprovider.kubelet.k8s.io/v1beta1', tokenAttributes })),
    /tokenAttributes: only with apiVersion credentialprovider\.kubelet\.k8s\.io\/v1/,
  ],
  [
    'annotations of no account',
    configOf(provider({ tokenAttributes: { ...tokenAttributes, requireServiceAccount: false } })),
    /requireServiceAccount cannot be false/,
  ],
] as const)
  test(`refused configuration: ${what}`, async (t) => {
    const file = join(await folderOf(t), 'config.yaml');
    await writeFile(file, text);
    const error = t.throws(() => readCredentialProviderConfig(file), { instanceOf: ConfigError, message });
    t.true(error.message.includes(file));
  });

test('a configuration that is not there', (t) => {
  t.throws(() => readCredentialProviderConfig('/nonexistent/config.yaml'), {
    instanceOf: ConfigError,
    message: /cannot read the credential provider configuration: .*ENOENT/,
  });
});

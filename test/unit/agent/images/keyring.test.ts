import { createHash } from 'node:crypto';
import test from 'ava';
import { DockerConfigError, parseDockerCfg, parseDockerConfigJson } from '../../../../agent/images/docker-config.ts';
import { lookUpCredentials } from '../../../../agent/images/keyring.ts';
import { isLocation, matchesLocation } from '../../../../agent/images/registry-match.ts';

for (const [location, repository, expected] of [
  ['registry.example', 'registry.example/a', true],
  ['registry.example', 'registry.example:5000/a', false],
  ['registry.example:5000', 'registry.example:5000/a', true],
  ['registry.example:5000', 'registry.example/a', false],
  ['registry.example/team', 'registry.example/team/a', true],
  ['registry.example/team', 'registry.example/teams/a', true],
  ['registry.example/team/', 'registry.example/teams/a', false],
  ['registry.example/other', 'registry.example/team/a', false],
  ['*.example', 'registry.example/a', true],
  ['*.example', 'a.registry.example/a', false],
  ['*.*.example', 'a.registry.example/a', true],
  ['*', 'localhost/a', true],
  ['*', 'registry.example/a', false],
  ['prefix*.example', 'prefix-7.example/a', true],
  ['prefix*.example', 'other.example/a', false],
  ['reg?stry.example', 'registry.example/a', true],
  ['reg[a-i]stry.example', 'registry.example/a', true],
  ['reg[j-z]stry.example', 'registry.example/a', false],
  ['reg[', 'reg[/a', false],
  ['registry.example/*', 'registry.example/a', false],
  ['docker.io', 'docker.io/library/nginx', true],
] as const)
  test(`location ${location} ${expected ? 'has' : 'has not'} ${repository}`, (t) => {
    t.is(matchesLocation(location, repository), expected);
  });

test('locations that can be read', (t) => {
  t.true(isLocation('*.dkr.ecr.*.example.com:443/team'));
  t.false(isLocation(''));
  t.false(isLocation('reg[.example'));
});

function usersOf(auths: object, repository: string, more: object[] = []) {
  const configurations = [auths, ...more].map((one) => ({
    source: undefined,
    entries: parseDockerConfigJson(JSON.stringify({ auths: one })),
  }));
  return lookUpCredentials(configurations, repository).map(({ auth }) => auth.username);
}
const as = (username: string) => ({ username, password: 'p' });

test('all that fit, in upstream’s order: by location backwards, of one location as given', (t) => {
  const auths = {
    'registry.example': as('host'),
    'https://registry.example/v2/': as('v2'),
    'registry.example/team': as('team'),
    '*.example': as('glob'),
    'other.example': as('other'),
  };
  t.deepEqual(usersOf(auths, 'registry.example/team/a', [{ 'registry.example': as('second') }]), [
    'team',
    'host',
    'v2',
    'second',
    'glob',
  ]);
  t.deepEqual(usersOf(auths, 'registry.example/a'), ['host', 'v2', 'glob']);
  t.deepEqual(usersOf(auths, 'registry.example:5000/a'), []);
});

test('the Hub under its old name; only when nothing else fits', (t) => {
  const old = { 'https://index.docker.io/v1/': as('hub') };
  t.deepEqual(usersOf(old, 'docker.io/library/nginx'), ['hub']);
  t.deepEqual(usersOf({ ...old, 'docker.io': as('io') }, 'docker.io/library/nginx'), ['io']);
  t.deepEqual(usersOf(old, 'registry.example/nginx'), []);
});

test('what the Engine is told, and the hash that records carry', (t) => {
  const auth = Buffer.from('me:p&w:d').toString('base64');
  const entries = parseDockerCfg(JSON.stringify({ 'registry.example': { auth, username: 'ignored', email: 'e' } }));
  const [credential] = lookUpCredentials([{ source: undefined, entries }], 'registry.example/a');
  t.deepEqual(credential!.auth, { username: 'me', password: 'p&w:d', serveraddress: 'registry.example' });
  const asGoWritesIt = '{"username":"me","password":"p\\u0026w:d","email":"e"}';
  t.is(credential!.hash, createHash('sha256').update(asGoWritesIt).digest('hex'));
});

test('auth without padding, and tokens', (t) => {
  const [entry] = parseDockerConfigJson(
    JSON.stringify({
      auths: { r: { auth: Buffer.from('a:b').toString('base64').replace(/=+$/, ''), identitytoken: 'i' } },
    }),
  );
  t.like(entry, { username: 'a', password: 'b', identityToken: 'i' });
});

for (const [text, message] of [
  ['{', 'the configuration is not JSON'],
  ['[]', 'the configuration is not an object'],
  [
    '{"auths":{"r":{"auth":"bm9jb2xvbg=="}}}',
    'unable to parse auth field of r, must be formatted as base64(username:password)',
  ],
  [
    '{"auths":{"r":{"auth":"!secret!"}}}',
    'unable to parse auth field of r, must be formatted as base64(username:password)',
  ],
  ['{"auths":{"r":{"password":5}}}', 'password of r is not a string'],
] as const)
  test(`malformed: ${text}`, (t) => {
    t.throws(() => parseDockerConfigJson(text), { instanceOf: DockerConfigError, message });
  });

test('a configuration without auths has none', (t) => {
  t.deepEqual(parseDockerConfigJson('{}'), []);
});

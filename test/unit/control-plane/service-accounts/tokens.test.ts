import test from 'ava';
import type { UserInfo } from '../../../../control-plane/apiserver/authorization.ts';
import type { StatusError } from '../../../../control-plane/apiserver/status-error.ts';
import { restrictNodeTokens } from '../../../../control-plane/authorization/node-token-restriction.ts';
import { defineServiceAccounts } from '../../../../control-plane/resources/serviceaccounts.ts';
import { createServiceAccountAuthenticator } from '../../../../control-plane/service-accounts/token-authenticator.ts';
import { defineTokenRequest } from '../../../../control-plane/service-accounts/token-request.ts';
import { createSigningKeyPem, loadSigningKey } from '../../../../src/auth/signing-key.ts';
import { TokenRefusedError } from '../../../../src/auth/token-authenticator.ts';
import type { TokenRequest, TokenRequestSpec } from '../../../../src/kube/schema/generated/types/authentication-v1.ts';
import type { KubeObject, Pod } from '../../../../src/kube/types.ts';
import { Registry } from '../../../../src/runtime/metrics.ts';
import { createFakeClock } from '../../../fakes/clock.ts';
import {
  ADMIN,
  meta,
  NOW_MS,
  nodeUser,
  objectReader,
  type StoredObjects,
  strategyContext,
} from '../../../support/strategy-context.ts';

const options = { issuer: 'https://issuer.test', apiAudiences: ['https://issuer.test'] };
const key = loadSigningKey(createSigningKeyPem());
const NOW_SECONDS = NOW_MS / 1000;

const pod = (name: string, rest: Partial<Pod['spec']> = {}): Pod => ({
  metadata: meta(name, { uid: `uid-${name}` }),
  spec: {
    nodeName: 'n1',
    serviceAccountName: 'robot',
    containers: [{ name: 'c', image: 'x:1' }],
    volumes: [
      {
        name: 'v',
        projected: {
          sources: [
            { serviceAccountToken: { path: 'token' } },
            { serviceAccountToken: { path: 'vault', audience: 'vault' } },
          ],
        },
      },
    ],
    ...rest,
  },
});

const stored = {
  serviceaccounts: [{ metadata: meta('robot', { uid: 'uid-robot' }) }],
  pods: [
    pod('p'),
    pod('lost', { nodeName: 'gone' }),
    pod('far', { nodeName: 'n2' }),
    pod('else', { serviceAccountName: 'other' }),
  ],
  secrets: [{ metadata: meta('s', { uid: 'uid-s' }) }],
  nodes: [{ metadata: meta('n1', { uid: 'uid-n1', namespace: undefined }) }],
} satisfies StoredObjects;

const accounts = restrictNodeTokens(defineServiceAccounts({ token: defineTokenRequest(options, key) }));

async function request(spec: TokenRequestSpec, user: UserInfo = ADMIN, metadata: object = {}): Promise<TokenRequest> {
  const { token } = accounts.subresources;
  if (token?.style !== 'create') throw new Error('no serviceaccounts/token');
  return (await token.create({
    namespace: 'default',
    name: 'robot',
    body: { metadata, spec } as unknown as KubeObject & Record<string, unknown>,
    context: strategyContext(user, stored),
    modify: () => Promise.reject(new Error('nothing is stored')),
  })) as TokenRequest;
}

const bound = (kind: string, name: string, uid?: string) => ({
  boundObjectRef: { apiVersion: 'v1', kind, name, ...(uid && { uid }) },
});
const claimsOf = ({ status }: TokenRequest) =>
  JSON.parse(Buffer.from(status!.token!.split('.')[1]!, 'base64url').toString());

test('nodes get tokens for audiences that they were granted, bound to their pods like all others', async (t) => {
  const granted = restrictNodeTokens(defineServiceAccounts({ token: defineTokenRequest(options, key) }), ['registry']);
  const { token } = granted.subresources;
  if (token?.style !== 'create') throw new Error('no serviceaccounts/token');
  const ask = (spec: TokenRequestSpec) =>
    token.create({
      namespace: 'default',
      name: 'robot',
      body: { metadata: {}, spec } as unknown as KubeObject & Record<string, unknown>,
      context: strategyContext(nodeUser('n1'), stored),
      modify: () => Promise.reject(new Error('nothing is stored')),
    });
  t.truthy(await ask({ audiences: ['registry'], ...bound('Pod', 'p', 'uid-p') }));
  await t.throwsAsync(ask({ audiences: ['other'], ...bound('Pod', 'p', 'uid-p') }), { message: /audience "other"/ });
  await t.throwsAsync(ask({ audiences: ['registry'] }), { message: /not bound to a pod/ });
});

test('a token says who, for whom, how long', async (t) => {
  const answer = await request({});
  const claims = claimsOf(answer);
  t.deepEqual(
    { ...claims, jti: '' },
    {
      aud: ['https://issuer.test'],
      exp: NOW_SECONDS + 3600,
      iat: NOW_SECONDS,
      iss: 'https://issuer.test',
      jti: '',
      'kubernetes.io': { namespace: 'default', serviceaccount: { name: 'robot', uid: 'uid-robot' } },
      nbf: NOW_SECONDS,
      sub: 'system:serviceaccount:default:robot',
    },
  );
  t.regex(claims.jti, /^[0-9a-f-]{36}$/);
  t.like(answer, {
    metadata: { name: 'robot', namespace: 'default', creationTimestamp: '2026-01-02T03:04:05Z' },
    spec: { audiences: ['https://issuer.test'], expirationSeconds: 3600 },
    status: { expirationTimestamp: '2026-01-02T04:04:05Z' },
  });
});

test('bound to a pod, a secret, a node', async (t) => {
  const own = async (spec: TokenRequestSpec) => claimsOf(await request(spec))['kubernetes.io'];
  t.like(await own(bound('Pod', 'p', 'uid-p')), {
    pod: { name: 'p', uid: 'uid-p' },
    node: { name: 'n1', uid: 'uid-n1' },
    warnafter: undefined,
  });
  t.deepEqual((await own(bound('Pod', 'lost'))).node, { name: 'gone' }, 'a node that is not there has a name only');
  t.like(await own(bound('Secret', 's')), { secret: { name: 's', uid: 'uid-s' }, node: undefined });
  t.like(await own(bound('Node', 'n1')), { node: { name: 'n1', uid: 'uid-n1' }, pod: undefined });
});

test('3607 s for the API server and bound to a pod: a year, and a warning after that time', async (t) => {
  const seconds = async (spec: TokenRequestSpec) => {
    const claims = claimsOf(await request({ expirationSeconds: 3607, ...spec }));
    return [claims.exp - NOW_SECONDS, claims['kubernetes.io'].warnafter - NOW_SECONDS];
  };
  t.deepEqual(await seconds(bound('Pod', 'p')), [365 * 24 * 3600, 3607]);
  t.deepEqual(await seconds({ ...bound('Pod', 'p'), audiences: ['vault'] }), [3607, Number.NaN]);
  t.deepEqual(await seconds(bound('Secret', 's')), [3607, Number.NaN]);
  t.deepEqual(await seconds({ ...bound('Pod', 'p'), expirationSeconds: 3600 }), [3600, Number.NaN]);
  const { status } = await request({ expirationSeconds: 3607, ...bound('Pod', 'p') });
  t.is(status?.expirationTimestamp, '2026-01-02T04:04:12Z', 'when the client shall renew it');
});

const refused: [string, TokenRequestSpec, number, string, object?][] = [
  [
    'too short',
    { expirationSeconds: 599 },
    422,
    'TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes',
  ],
  [
    'too long',
    { expirationSeconds: 2 ** 32 + 1 },
    422,
    'TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 4294967297: may not specify a duration larger than 2^32 seconds',
  ],
  ['a pod that is not there', bound('Pod', 'nobody'), 404, 'pods "nobody" not found'],
  [
    'another pod of that name',
    bound('Pod', 'p', 'uid-before'),
    409,
    'Operation cannot be fulfilled on Pod "p": the UID in the bound object reference (uid-before) does not match the UID in record. The object might have been deleted and then recreated',
  ],
  [
    'a pod of another account',
    bound('Pod', 'else'),
    400,
    'cannot bind token for serviceaccount "robot" to pod running with different serviceaccount name.',
  ],
  [
    'a kind that tokens are not bound to',
    bound('ConfigMap', 'c'),
    400,
    'cannot bind token to object of type v1, Kind=ConfigMap (Pod, Secret and Node of v1 are possible)',
  ],
  [
    'another name in the body',
    {},
    422,
    'TokenRequest.authentication.k8s.io "robot" is invalid: metadata.name: Invalid value: "x": must match the service account name if specified',
    { name: 'x' },
  ],
];
for (const [what, spec, code, message, metadata] of refused)
  test(`a request is refused: ${what}`, async (t) => {
    const error = await t.throwsAsync<StatusError>(request(spec, ADMIN, metadata), { message });
    t.is(error.code, code);
  });

const node = nodeUser('n1');
test('a node gets tokens for its pods and the audiences that they ask for', async (t) => {
  await t.notThrowsAsync(request(bound('Pod', 'p', 'uid-p'), node));
  await t.notThrowsAsync(request({ ...bound('Pod', 'p', 'uid-p'), audiences: ['vault'] }, node));
});
const refusedNodes: [string, TokenRequestSpec, RegExp][] = [
  ['unbound', {}, /serviceaccounts "robot" is forbidden: node requested token not bound to a pod$/],
  ['bound to its node', bound('Node', 'n1', 'uid-n1'), /not bound to a pod$/],
  ['without a uid', bound('Pod', 'p'), /node requested token with a pod binding without a uid$/],
  ['of an earlier pod', bound('Pod', 'p', 'uid-before'), /does not match the UID in record/],
  ['of a pod elsewhere', bound('Pod', 'far', 'uid-far'), /token bound to a pod scheduled on a different node$/],
  ['for another audience', { ...bound('Pod', 'p', 'uid-p'), audiences: ['bank'] }, /audience "bank" not found in pod/],
  [
    'for two audiences',
    { ...bound('Pod', 'p', 'uid-p'), audiences: ['vault', ''] },
    /may only request 0 or 1 audiences/,
  ],
];
for (const [what, spec, message] of refusedNodes)
  test(`a node gets no token ${what}`, async (t) => {
    await t.throwsAsync(request(spec, node), { message });
  });

function authenticator(objects: StoredObjects = stored) {
  const clock = createFakeClock(NOW_MS);
  const metrics = new Registry();
  const made = createServiceAccountAuthenticator(options, { key, objects: objectReader(objects), clock, metrics });
  return { ...made, clock, metrics };
}

test('a token is its service account, with what it is bound to', async (t) => {
  const { status } = await request(bound('Pod', 'p', 'uid-p'));
  const user = await authenticator().authenticate(status!.token!);
  t.like(user, {
    username: 'system:serviceaccount:default:robot',
    uid: 'uid-robot',
    groups: ['system:serviceaccounts', 'system:serviceaccounts:default'],
  });
  const { 'authentication.kubernetes.io/credential-id': [credential = ''] = [], ...extra } = user!.extra!;
  t.regex(credential, /^JTI=[0-9a-f-]{36}$/);
  t.deepEqual(extra, {
    'authentication.kubernetes.io/node-name': ['n1'],
    'authentication.kubernetes.io/node-uid': ['uid-n1'],
    'authentication.kubernetes.io/pod-name': ['p'],
    'authentication.kubernetes.io/pod-uid': ['uid-p'],
  });
});

test('audiences: those of the token among the asked ones', async (t) => {
  const { verify, authenticate } = authenticator();
  const { status } = await request({ audiences: ['vault', 'bank'] });
  t.deepEqual((await verify(status!.token!, ['bank', 'shop']))?.audiences, ['bank']);
  await t.throwsAsync(authenticate(status!.token!), {
    instanceOf: TokenRefusedError,
    message: 'token audiences ["vault" "bank"] is invalid for the target audiences ["https://issuer.test"]',
  });
});

test('times: a minute of leeway, then refused; a stale token works and is counted', async (t) => {
  const plain = (await request({ expirationSeconds: 600 })).status!.token!;
  const extended = (await request({ expirationSeconds: 3607, ...bound('Pod', 'p') })).status!.token!;
  const { authenticate, clock, metrics } = authenticator();
  await t.notThrowsAsync(authenticate(plain));
  await clock.advance(659_000);
  await t.notThrowsAsync(authenticate(plain));
  await clock.advance(2_000);
  await t.throwsAsync(authenticate(plain), { message: 'service account token has expired' });
  await authenticate(extended);
  await clock.advance(3_600_000);
  await authenticate(extended);
  t.regex(await metrics.metrics(), /serviceaccount_valid_tokens_total 1\n.*serviceaccount_stale_tokens_total 1\n/s);
  const sign = (change: object) => key.sign({ ...claimsOf({ status: { token: plain } } as TokenRequest), ...change });
  const late = NOW_SECONDS + 86_400;
  await t.throwsAsync(authenticate(await sign({ exp: late, nbf: late - 10 })), { message: /is not valid yet/ });
  await t.throwsAsync(authenticate(await sign({ exp: late, iat: late })), { message: /is issued in the future/ });
});

const without = (plural: keyof typeof stored) => ({ ...stored, [plural]: [] });
const changed = (plural: keyof typeof stored, change: object) => ({
  ...stored,
  [plural]: stored[plural].map((object) => ({ ...object, metadata: { ...object.metadata, ...change } })),
});
const deleted = { deletionTimestamp: '2026-01-02T03:03:00Z' };
const invalidated: [string, TokenRequestSpec, StoredObjects, string][] = [
  ['its account went', {}, without('serviceaccounts'), 'serviceaccounts "robot" not found'],
  [
    'its account is another one',
    {},
    changed('serviceaccounts', { uid: 'new' }),
    'service account UID (new) does not match claim (uid-robot)',
  ],
  ['its account was deleted', {}, changed('serviceaccounts', deleted), 'service account has been deleted'],
  ['its pod went', bound('Pod', 'p'), without('pods'), 'pods "p" not found'],
  [
    'its pod is another one',
    bound('Pod', 'p'),
    changed('pods', { uid: 'new' }),
    'pod UID (new) does not match service account pod ref claim (uid-p)',
  ],
  ['its pod should be gone', bound('Pod', 'p'), changed('pods', deleted), 'service account token has been invalidated'],
  ['its secret went', bound('Secret', 's'), without('secrets'), 'secrets "s" not found'],
  ['its node went', bound('Node', 'n1'), without('nodes'), 'nodes "n1" not found'],
];
for (const [what, spec, objects, message] of invalidated)
  test(`a token is worthless when ${what}`, async (t) => {
    const { status } = await request(spec);
    const { authenticate } = authenticator(objects);
    await t.throwsAsync(authenticate(status!.token!), { instanceOf: TokenRefusedError, message });
  });

test('the node of a pod may go: the token is bound to the pod', async (t) => {
  const { status } = await request(bound('Pod', 'p'));
  await t.notThrowsAsync(authenticator(without('nodes')).authenticate(status!.token!));
});

test('forged and foreign tokens; what is no token of ours is left to others', async (t) => {
  const { authenticate } = authenticator();
  const claims = claimsOf(await request({}));
  const forged = await loadSigningKey(createSigningKeyPem()).sign(claims);
  await t.throwsAsync(authenticate(forged), {
    message: /signature of the service account token could not be verified/,
  });
  await t.throwsAsync(authenticate(await key.sign({ iss: options.issuer })), { message: /lacks claims/ });
  await t.throwsAsync(authenticate(await key.sign({ ...claims, sub: 'system:admin' })), { message: /subject/ });
  t.is(await authenticate(await key.sign({ ...claims, iss: 'https://elsewhere' })), undefined);
  for (const text of ['secret', 'a.b.c', '..', `${'x'.repeat(10_000)}.e30.x`])
    t.is(await authenticate(text), undefined);
});

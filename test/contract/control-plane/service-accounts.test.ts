import { createPublicKey, verify } from 'node:crypto';
import test from 'ava';
import { createSigningKeyPem, loadSigningKey } from '../../../src/auth/signing-key.ts';
import { createKubeClient, type KubeClient } from '../../../src/kube/client.ts';
import { nodes, pods, secrets, serviceAccounts } from '../../../src/kube/resources.ts';
import type { TokenRequest, TokenRequestSpec } from '../../../src/kube/schema/generated/types/authentication-v1.ts';
import type { Node, Pod } from '../../../src/kube/types.ts';
import { ISSUER, startTestControlPlane, type TestControlPlane } from '../../support/control-plane.ts';
import { createRawClient, type RawClient } from '../../support/raw-api.ts';

/** Identities of service accounts, asked of the real server as clients ask. */

let controlPlane: TestControlPlane;
let admin: KubeClient;
/** Without a certificate. */
let bare: RawClient;
let master: RawClient;

test.before(async () => {
  controlPlane = await startTestControlPlane();
  await controlPlane.createNamespaces('default', 'other');
  admin = await controlPlane.admin();
  for (const namespace of ['default', 'other'])
    await admin.create(serviceAccounts, { metadata: { name: 'default' } }, { namespace });
  for (const name of ['n1', 'n2']) await admin.create<Node>(nodes, { metadata: { name }, spec: {} });
  bare = createRawClient(controlPlane, { http: 2 });
  master = createRawClient(controlPlane, {
    http: 2,
    pair: await controlPlane.credentials('admin', ['system:masters']),
  });
});
test.after.always(async () => {
  bare?.close();
  master?.close();
  await controlPlane?.stop();
});

async function issue(spec: TokenRequestSpec = {}, client = admin, name = 'default'): Promise<string> {
  const body = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', metadata: {}, spec };
  const answer = await client.create(serviceAccounts, body, { namespace: 'default', name, subresource: 'token' });
  return (answer as TokenRequest).status!.token!;
}

const makePod = (name: string, nodeName?: string) =>
  admin.create<Pod>(
    pods,
    { metadata: { name }, spec: { ...(nodeName && { nodeName }), containers: [{ name: 'c', image: 'x:1' }] } },
    { namespace: 'default' },
  );
const boundTo = ({ metadata: { name, uid } }: Pod): TokenRequestSpec => ({
  boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name, uid },
});
const get = (path: string, token: string) => bare.send({ path, headers: { authorization: `Bearer ${token}` } });
const post = (client: RawClient, path: string, body: object, token?: string) =>
  client.send({ method: 'POST', path, body, headers: token ? { authorization: `Bearer ${token}` } : {} });

const AUTHENTICATION = '/apis/authentication.k8s.io/v1';
const AUTHORIZATION = '/apis/authorization.k8s.io/v1';

test('a service account reaches the API and is refused what it may not do', async (t) => {
  const token = await issue();
  t.is((await get('/version', token)).status, 200);
  t.is((await get('/apis', token)).status, 200);
  const denied = await get('/api/v1/namespaces/default/secrets', token);
  t.is(denied.status, 403);
  t.is(
    denied.json.message,
    'secrets is forbidden: User "system:serviceaccount:default:default" cannot list resource "secrets" in API group "" in the namespace "default"',
  );
  t.is((await get('/metrics', token)).status, 403);
  const own = createKubeClient({ server: controlPlane.url, caPem: controlPlane.caPem, token, userAgent: 'test' });
  t.teardown(() => own.close());
  await t.throwsAsync(own.list(pods, { namespace: 'default' }), { message: /cannot list resource "pods"/ });
});

test('it is told who it is, and only that', async (t) => {
  const pod = await makePod('introspective', 'n1');
  const token = await issue(boundTo(pod));
  const { json } = await post(bare, `${AUTHENTICATION}/selfsubjectreviews`, {}, token);
  t.is(json.kind, 'SelfSubjectReview');
  t.like(json.status.userInfo, {
    username: 'system:serviceaccount:default:default',
    groups: ['system:serviceaccounts', 'system:serviceaccounts:default', 'system:authenticated'],
  });
  t.deepEqual(json.status.userInfo.extra['authentication.kubernetes.io/pod-name'], ['introspective']);
  t.deepEqual(json.status.userInfo.extra['authentication.kubernetes.io/node-name'], ['n1']);
  const review = { spec: { token } };
  t.is((await post(bare, `${AUTHENTICATION}/tokenreviews`, review, token)).status, 403);
  t.like((await post(master, `${AUTHENTICATION}/tokenreviews`, review)).json.status, {
    authenticated: true,
    audiences: [ISSUER],
  });
});

test('questions about rights', async (t) => {
  const token = await issue();
  const secret = { resourceAttributes: { verb: 'get', resource: 'secrets', namespace: 'default' } };
  const mine = await post(bare, `${AUTHORIZATION}/selfsubjectaccessreviews`, { spec: secret }, token);
  t.is(mine.status, 201);
  t.deepEqual(mine.json.status, { allowed: false });
  const rules = await post(bare, `${AUTHORIZATION}/selfsubjectrulesreviews`, { spec: { namespace: 'default' } }, token);
  t.true(rules.json.status.nonResourceRules.length > 0);
  const others = { spec: { ...secret, user: 'boss', groups: ['system:masters'] } };
  t.is((await post(bare, `${AUTHORIZATION}/subjectaccessreviews`, others, token)).status, 403);
  t.like((await post(master, `${AUTHORIZATION}/subjectaccessreviews`, others)).json.status, { allowed: true });
  const local = `${AUTHORIZATION}/namespaces/default/localsubjectaccessreviews`;
  t.like((await post(master, local, others)).json.status, { allowed: true });
  t.is((await post(master, local.replace('default', 'other'), others)).status, 422);
  t.is((await master.send({ path: `${AUTHORIZATION}/subjectaccessreviews` })).status, 405, 'nothing is stored');
});

test('a token ends with its pod, its account and its key', async (t) => {
  const pod = await makePod('mortal');
  const token = await issue(boundTo(pod));
  t.is((await get('/version', token)).status, 200);
  await admin.delete(pods, { namespace: 'default', name: 'mortal' });
  t.is((await get('/api', token)).status, 401);
  await makePod('mortal');
  t.is((await get('/api', token)).status, 401, 'another pod of that name');

  await admin.create(serviceAccounts, { metadata: { name: 'brief' } }, { namespace: 'default' });
  const brief = await issue({}, admin, 'brief');
  t.is((await get('/api', brief)).status, 200);
  await admin.delete(serviceAccounts, { namespace: 'default', name: 'brief' });
  t.is((await get('/api', brief)).status, 401);

  const claims = JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString());
  const forged = await loadSigningKey(createSigningKeyPem()).sign(claims);
  const expired = await controlPlane.signingKey.sign({
    ...claims,
    exp: 1,
    'kubernetes.io': { ...claims['kubernetes.io'], pod: undefined },
  });
  const foreign = await issue({ audiences: ['vault'] });
  for (const bad of [forged, expired, foreign, 'nonsense', `${token}x`]) {
    const answer = await get('/api', bad);
    t.is(answer.status, 401);
    t.is(answer.json.message, 'Unauthorized', 'why is for the log only');
  }
  const review = async (bad: string) =>
    (await post(master, `${AUTHENTICATION}/tokenreviews`, { spec: { token: bad } })).json.status.error;
  t.is(await review(expired), '[invalid bearer token, service account token has expired]');
  t.regex(await review(forged), /signature/);
  t.regex(await review(foreign), /token audiences \["vault"\] is invalid/);
  const { text } = await master.send({ path: '/metrics' });
  t.regex(text, /authentication_attempts\{result="error"\} \d+/);
});

test('a node gets tokens for its own pods only', async (t) => {
  const mine = await makePod('of-n1', 'n1');
  const theirs = await makePod('of-n2', 'n2');
  const n1 = await controlPlane.client('system:node:n1', ['system:nodes']);
  t.is((await get('/api', await issue(boundTo(mine), n1))).status, 200);
  await t.throwsAsync(issue(boundTo(theirs), n1), { message: /bound to a pod scheduled on a different node$/ });
  await t.throwsAsync(issue({}, n1), { message: /node requested token not bound to a pod$/ });
  await admin.create(serviceAccounts, { metadata: { name: 'unused' } }, { namespace: 'default' });
  await t.throwsAsync(issue(boundTo(mine), n1, 'unused'), {
    message:
      /^serviceaccounts "unused" is forbidden: User "system:node:n1" cannot create resource "serviceaccounts\/token".*no relationship found/,
  });
});

test('others can check a token by what the server publishes', async (t) => {
  const token = await issue();
  const configuration = (await get('/.well-known/openid-configuration', token)).json;
  t.deepEqual(configuration, {
    issuer: ISSUER,
    jwks_uri: 'https://apiserver.test:6443/openid/v1/jwks',
    response_types_supported: ['id_token'],
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: ['ES256'],
  });
  const keys = await get(new URL(configuration.jwks_uri).pathname, token);
  t.is(keys.headers['content-type'], 'application/jwk-set+json');
  const [jwk] = keys.json.keys;
  const [header = '', payload = '', signature = ''] = token.split('.');
  t.is(JSON.parse(Buffer.from(header, 'base64url').toString()).kid, jwk.kid);
  const key = { key: createPublicKey({ key: jwk, format: 'jwk' }), dsaEncoding: 'ieee-p1363' as const };
  t.true(verify('sha256', Buffer.from(`${header}.${payload}`), key, Buffer.from(signature, 'base64url')));
  t.is((await bare.send({ path: '/openid/v1/jwks' })).status, 401, 'not without credentials');
});

test('a pod that is made gets the volume; a secret bound token follows the secret', async (t) => {
  const pod = await makePod('mounted');
  t.regex(pod.spec.volumes?.[0]?.name ?? '', /^kube-api-access-[a-z0-9]{5}$/);
  const secret = await admin.create(secrets, { metadata: { name: 'holder' } }, { namespace: 'default' });
  const token = await issue({
    boundObjectRef: { apiVersion: 'v1', kind: 'Secret', name: 'holder', uid: secret.metadata.uid },
  });
  t.is((await get('/api', token)).status, 200);
  await admin.delete(secrets, { namespace: 'default', name: 'holder' });
  t.is((await get('/api', token)).status, 401);
});

test('requests that are wrong are refused by field', async (t) => {
  await t.throwsAsync(issue({ expirationSeconds: 60 }), { message: /spec\.expirationSeconds: Invalid value: 60/ });
  await t.throwsAsync(issue({}, admin, 'nobody'), { message: 'serviceaccounts "nobody" not found' });
  const wrongKind = await post(master, '/api/v1/namespaces/default/serviceaccounts/default/token', {
    kind: 'Binding',
    apiVersion: 'v1',
  });
  t.is(wrongKind.status, 400);
});

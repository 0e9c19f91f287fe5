import test from 'ava';
import type { UserInfo } from '../../../../control-plane/apiserver/authorization.ts';
import type { StatusError } from '../../../../control-plane/apiserver/status-error.ts';
import { createAuthorizer } from '../../../../control-plane/authorization/authorizer.ts';
import { authenticationReviews } from '../../../../control-plane/resources/reviews/authentication.ts';
import { attributesOf, authorizationReviews } from '../../../../control-plane/resources/reviews/authorization.ts';
import { TokenRefusedError } from '../../../../src/auth/token-authenticator.ts';
import type { KubeObject } from '../../../../src/kube/types.ts';
import { ADMIN, nodeUser, objectReader, strategyContext } from '../../../support/strategy-context.ts';

const robot: UserInfo = {
  username: 'system:serviceaccount:default:robot',
  uid: 'uid-robot',
  groups: ['system:serviceaccounts', 'system:serviceaccounts:default', 'system:authenticated'],
  extra: { key: ['value'] },
};

const reviews = [
  ...authorizationReviews(createAuthorizer({ objects: objectReader() })),
  ...authenticationReviews({
    apiAudiences: ['api'],
    async verify(token, audiences) {
      if (token === 'expired') throw new TokenRefusedError('service account token has expired');
      if (token === 'broken') throw new Error('the store is closed');
      return token === 'good' ? { user: { ...robot, groups: robot.groups.slice(0, 2) }, audiences } : undefined;
    },
  }),
];

/** The status of the answer to a review by `user`. */
async function ask(kind: string, spec: object | undefined, user = ADMIN, namespace = ''): Promise<unknown> {
  const review = reviews.find((one) => one.kind === kind)!;
  const answer = (await review.virtual!.create({
    object: { metadata: {}, ...(spec && { spec }) } as unknown as KubeObject,
    namespace,
    context: strategyContext(user),
    modify: () => Promise.reject(new Error('nothing is stored')),
  })) as { status: unknown; metadata: object };
  return answer.status;
}

test('who am I', async (t) => {
  t.deepEqual(await ask('SelfSubjectReview', undefined, robot), {
    userInfo: { username: robot.username, uid: 'uid-robot', groups: robot.groups, extra: { key: ['value'] } },
  });
});

test('whose token is this', async (t) => {
  t.deepEqual(await ask('TokenReview', { token: 'good' }), {
    authenticated: true,
    user: { username: robot.username, uid: 'uid-robot', groups: robot.groups, extra: { key: ['value'] } },
    audiences: ['api'],
  });
  t.like(await ask('TokenReview', { token: 'good', audiences: ['vault'] }), { audiences: ['vault'] });
  t.deepEqual(await ask('TokenReview', { token: 'unknown' }), { user: {}, error: 'invalid bearer token' });
  t.deepEqual(await ask('TokenReview', { token: 'expired' }), {
    user: {},
    error: '[invalid bearer token, service account token has expired]',
  });
  await t.throwsAsync(ask('TokenReview', {}), { message: 'token is required for TokenReview in authentication' });
  await t.throwsAsync(ask('TokenReview', { token: 'broken' }), { message: 'the store is closed' });
});

test('may I', async (t) => {
  const secrets = { resourceAttributes: { verb: 'list', resource: 'secrets', namespace: 'default' } };
  t.deepEqual(await ask('SelfSubjectAccessReview', secrets), { allowed: true, reason: 'group system:masters' });
  t.deepEqual(await ask('SelfSubjectAccessReview', secrets, robot), { allowed: false });
  const page = { nonResourceAttributes: { verb: 'get', path: '/version' } };
  t.like(await ask('SelfSubjectAccessReview', page, robot), { allowed: true });
});

test('may somebody: as it is said, without further groups', async (t) => {
  const page = { nonResourceAttributes: { verb: 'get', path: '/api' } };
  t.like(await ask('SubjectAccessReview', { ...page, user: 'x' }), { allowed: false });
  t.like(await ask('SubjectAccessReview', { ...page, groups: ['system:authenticated'] }), { allowed: true });
  const secrets = { resourceAttributes: { verb: 'get', resource: 'secrets', namespace: 'a', name: 's' } };
  const node = { ...secrets, user: 'system:node:n1', groups: ['system:nodes'] };
  t.deepEqual(await ask('LocalSubjectAccessReview', node, ADMIN, 'a'), {
    allowed: false,
    reason: "no relationship found between node 'n1' and this object",
  });
});

const resourceAttributes = { verb: 'get', resource: 'pods' };
const nonResourceAttributes = { verb: 'get', path: '/' };
const bad: [string, object, string][] = [
  [
    'SelfSubjectAccessReview',
    {},
    'spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified',
  ],
  [
    'SelfSubjectAccessReview',
    { resourceAttributes, nonResourceAttributes },
    'spec.nonResourceAttributes: Invalid value: {"verb":"get","path":"/"}: cannot be specified in combination with resourceAttributes',
  ],
  [
    'SubjectAccessReview',
    { resourceAttributes },
    'spec.user: Invalid value: "": at least one of user or group must be specified',
  ],
  [
    'LocalSubjectAccessReview',
    { resourceAttributes: { ...resourceAttributes, namespace: 'b' }, user: 'x' },
    'spec.resourceAttributes.namespace: Invalid value: "b": must match metadata.namespace',
  ],
  [
    'LocalSubjectAccessReview',
    { nonResourceAttributes, user: 'x' },
    'spec.nonResourceAttributes: Invalid value: {"verb":"get","path":"/"}: disallowed on this kind of request',
  ],
];
for (const [kind, spec, message] of bad)
  test(`a ${kind} is refused: ${message}`, async (t) => {
    const error = await t.throwsAsync<StatusError>(ask(kind, spec, ADMIN, 'a'));
    t.is(error.code, 422);
    t.is(error.message, `${kind}.authorization.k8s.io "" is invalid: ${message}`);
  });

test('what may I', async (t) => {
  const everything = { verbs: ['*'], apiGroups: ['*'], resources: ['*'] };
  t.like(await ask('SelfSubjectRulesReview', { namespace: 'default' }), {
    resourceRules: [everything],
    incomplete: false,
  });
  const mine = (await ask('SelfSubjectRulesReview', { namespace: 'default' }, robot)) as {
    resourceRules: { resources: string[] }[];
    nonResourceRules: { nonResourceURLs: string[] }[];
  };
  t.deepEqual(
    mine.resourceRules.flatMap(({ resources }) => resources),
    ['selfsubjectreviews', 'selfsubjectaccessreviews', 'selfsubjectrulesreviews'],
  );
  t.true(mine.nonResourceRules.some(({ nonResourceURLs }) => nonResourceURLs.includes('/openid/v1/jwks')));
  t.like(await ask('SelfSubjectRulesReview', { namespace: 'default' }, nodeUser('n1')), {
    incomplete: true,
    evaluationError: 'node authorizer does not support user rule resolution',
  });
  await t.throwsAsync(ask('SelfSubjectRulesReview', {}), { message: 'no namespace on request' });
});

test('field selectors of a question read as those of a request', (t) => {
  const text = (fieldSelector: object) =>
    attributesOf(ADMIN, { resourceAttributes: { ...resourceAttributes, fieldSelector } }).fieldSelector;
  t.is(text({ rawSelector: 'spec.nodeName=n1' }), 'spec.nodeName=n1');
  t.is(text({ requirements: [{ key: 'spec.nodeName', operator: 'In', values: ['n1'] }] }), 'spec.nodeName=n1');
  t.is(text({ requirements: [{ key: 'a', operator: 'NotIn', values: ['x,y'] }] }), 'a!=x\\,y');
  t.is(text({ requirements: [{ key: 'a', operator: 'In', values: ['x', 'y'] }] }), '', 'no request can say this');
});

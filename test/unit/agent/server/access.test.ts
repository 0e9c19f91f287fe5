import type { IncomingMessage } from 'node:http';
import test from 'ava';
import { createAccess } from '../../../../agent/server/access.ts';
import { reviewedAccess, unlimitedAccess } from '../../../../agent/server/authorization.ts';
import { createReviews } from '../../../../agent/server/reviews.ts';
import type { KubeClient } from '../../../../src/kube/client.ts';
import type { Resource } from '../../../../src/kube/resources.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { createFakeClock } from '../../../fakes/clock.ts';

const TIMES = { tokenMs: 120_000, allowedMs: 300_000, deniedMs: 30_000 };

/** A node named n1 whose API server knows the token `good` of alice, who may read nodes/metrics of n1 and nothing else. */
function scene(options: { anonymous?: boolean } = {}) {
  const clock = createFakeClock();
  const asked: { plural: string; spec: Record<string, unknown> }[] = [];
  let failure: Error | undefined;
  const client = {
    async create({ plural }: Resource, { spec }: { spec: Record<string, unknown> }) {
      asked.push({ plural, spec });
      if (failure) throw failure;
      if (plural === 'tokenreviews')
        return spec['token'] === 'good'
          ? { status: { authenticated: true, user: { username: 'alice', uid: '7', groups: ['team'] } } }
          : { status: { authenticated: false, error: 'unknown token' } };
      const { verb, name, subresource } = spec['resourceAttributes'] as Record<string, string>;
      return {
        status: { allowed: spec['user'] === 'alice' && `${verb} ${name}/${subresource}` === 'get n1/metrics' },
      };
    },
  } as unknown as KubeClient;
  const reviews = createReviews(TIMES, { client, clock });
  const refuse = createAccess(
    { authenticateToken: reviews.authenticate, authorize: reviewedAccess('n1', reviews), ...options },
    { log: silentLogger },
  );
  return {
    clock,
    asked,
    fail: (error: Error | undefined) => {
      failure = error;
    },
    ask: (path: string, authorization?: string, method = 'GET') =>
      refuse({ method, headers: { authorization }, socket: {} } as unknown as IncomingMessage, path),
  };
}

test('a bearer token is who the API server says, and may what the API server says', async (t) => {
  const { ask, asked } = scene();
  t.is(await ask('/metrics', 'Bearer good'), undefined);
  t.deepEqual(await ask('/pods', 'Bearer good'), {
    status: 403,
    text: 'Forbidden (user=alice, verb=get, resource=nodes, subresource=[pods proxy])',
  });
  t.deepEqual(asked[1], {
    plural: 'subjectaccessreviews',
    spec: {
      user: 'alice',
      uid: '7',
      groups: ['team', 'system:authenticated'],
      resourceAttributes: {
        group: '',
        version: 'v1',
        resource: 'nodes',
        verb: 'get',
        name: 'n1',
        subresource: 'metrics',
      },
    },
  });
  const subresources = asked
    .slice(2)
    .map(({ spec }) => (spec['resourceAttributes'] as { subresource: string }).subresource);
  t.deepEqual(subresources, ['pods', 'proxy'], 'the finer one first; the token is not reviewed again');
});

for (const [header, what] of [
  ['Bearer bad', 'a token that is not good'],
  ['Basic Z29vZA==', 'another scheme'],
  ['Bearer', 'no token'],
  ['good', 'no scheme'],
  ['Bearer good more', 'two words'],
  [undefined, 'nothing'],
] as const)
  test(`${what} lets nobody in`, async (t) => {
    t.deepEqual(await scene().ask('/metrics', header), { status: 401, text: 'Unauthorized' });
  });

test('anonymous people are asked about as such; a bad token does not make somebody anonymous', async (t) => {
  const { ask, asked } = scene({ anonymous: true });
  t.deepEqual(await ask('/healthz'), {
    status: 403,
    text: 'Forbidden (user=system:anonymous, verb=get, resource=nodes, subresource=[healthz proxy])',
  });
  t.deepEqual(asked[0]?.spec['groups'], ['system:unauthenticated']);
  t.like(await ask('/healthz', 'Bearer bad'), { status: 401 });
});

test('answers are kept for their times: tokens, permissions, refusals', async (t) => {
  const { ask, asked, clock } = scene();
  const count = (plural: string) => asked.filter((one) => one.plural === plural).length;
  await ask('/metrics', 'Bearer good');
  await ask('/logs/', 'Bearer good');
  await clock.advance(29_000);
  await ask('/metrics', 'Bearer good');
  await ask('/logs/', 'Bearer good');
  t.deepEqual([count('tokenreviews'), count('subjectaccessreviews')], [1, 2]);
  await clock.advance(2_000);
  await ask('/logs/', 'Bearer good');
  t.deepEqual([count('tokenreviews'), count('subjectaccessreviews')], [1, 3], 'a refusal is asked again after 30 s');
  await clock.advance(100_000);
  await ask('/metrics', 'Bearer good');
  t.deepEqual([count('tokenreviews'), count('subjectaccessreviews')], [2, 3], 'a token after 2 min');
  await clock.advance(180_000);
  await ask('/metrics', 'Bearer good');
  t.is(count('subjectaccessreviews'), 4, 'a permission after 5 min');
});

test('many who ask the same at once cost one review', async (t) => {
  const { ask, asked } = scene();
  await Promise.all(Array.from({ length: 50 }, () => ask('/metrics', 'Bearer good')));
  t.is(asked.length, 2);
});

test('while the API server is away: 401 for tokens, what is known goes on, failures are not kept', async (t) => {
  const { ask, clock, fail } = scene();
  await ask('/metrics', 'Bearer good');
  fail(new Error('connection refused'));
  t.is(await ask('/metrics', 'Bearer good'), undefined);
  t.deepEqual(await ask('/pods', 'Bearer good'), {
    status: 500,
    text: 'Authorization error (user=alice, verb=get, resource=nodes, subresource=[pods proxy])',
  });
  await clock.advance(121_000);
  t.like(await ask('/metrics', 'Bearer good'), { status: 401 });
  fail(undefined);
  t.is(await ask('/metrics', 'Bearer good'), undefined);
});

test('AlwaysAllow still wants to know who it is', async (t) => {
  const refuse = createAccess({ authorize: unlimitedAccess }, { log: silentLogger });
  const request = {
    method: 'GET',
    headers: { authorization: 'Bearer good' },
    socket: {},
  } as unknown as IncomingMessage;
  t.like(await refuse(request, '/pods'), { status: 401 }, 'nobody here judges tokens');
});

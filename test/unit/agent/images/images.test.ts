import test from 'ava';
import { pullCredentials } from '../../../../agent/images/credentials.ts';
import { createImages } from '../../../../agent/images/images.ts';
import { defaultPullPolicy, parseImageName, withDefaultTag } from '../../../../agent/images/name.ts';
import { createPullSlots } from '../../../../agent/images/pull-slots.ts';
import type { Container } from '../../../../src/kube/types.ts';
import { createFakeClock } from '../../../fakes/clock.ts';
import { createFakeDocker } from '../../../fakes/docker.ts';
import { podOf } from '../pod.ts';

const DIGEST = `sha256:${'0'.repeat(64)}`;

for (const [text, expected] of [
  ['nginx', 'docker.io nginx - -'],
  ['nginx:1.27', 'docker.io nginx 1.27 -'],
  ['library/nginx', 'docker.io library/nginx - -'],
  ['registry.example/a/b:1', 'registry.example a/b 1 -'],
  ['localhost:5000/a', 'localhost:5000 a - -'],
  ['localhost/a:x', 'localhost a x -'],
  [`a@${DIGEST}`, `docker.io a - ${DIGEST}`],
  [`h.example/a:1@${DIGEST}`, `h.example a 1 ${DIGEST}`],
] as const)
  test(`image name ${text}`, (t) => {
    const name = parseImageName(text)!;
    t.is(`${name.registry} ${name.repository} ${name.tag ?? '-'} ${name.digest ?? '-'}`, expected);
  });

for (const text of ['', 'Nginx', 'a b', 'a:', '-a', 'a/', 'a:b:c', 'a@sha256:xyz'])
  test(`no image name: ${JSON.stringify(text)}`, (t) => {
    t.is(parseImageName(text), undefined);
  });

test('default tag and pull policy', (t) => {
  t.is(withDefaultTag('nginx'), 'nginx:latest');
  t.is(withDefaultTag('localhost:5000/a'), 'localhost:5000/a:latest');
  t.is(withDefaultTag('a:1'), 'a:1');
  t.is(withDefaultTag(`a@${DIGEST}`), `a@${DIGEST}`);
  t.is(defaultPullPolicy('nginx'), 'Always');
  t.is(defaultPullPolicy('nginx:latest'), 'Always');
  t.is(defaultPullPolicy('nginx:1'), 'IfNotPresent');
  t.is(defaultPullPolicy(`nginx@${DIGEST}`), 'IfNotPresent');
});

function setUp() {
  const docker = createFakeDocker();
  const clock = createFakeClock();
  const events: string[] = [];
  const images = createImages(
    { maxParallelPulls: 1, backoffInitialMs: 10_000, backoffMaxMs: 300_000 },
    {
      docker,
      events: { event: (_p, type, reason, message, path) => events.push(`${type} ${reason} ${message} ${path}`) },
      metrics: { runtimeOperation: (_, call) => call() },
      clock,
    },
  );
  const ensure = (container: Partial<Container>) => {
    const own = { name: 'app', image: 'web:1', ...container };
    return images.ensure(podOf({ containers: [own] }), own, new AbortController().signal);
  };
  return { docker, clock, events, ensure };
}

test('present: no pull, whatever the registry', async (t) => {
  const { docker, events, ensure } = setUp();
  docker.addImage('web:1');
  await ensure({});
  t.deepEqual(events, [
    'Normal Pulled Container image "web:1" already present on machine and can be accessed by the pod spec.containers{app}',
  ]);
  t.false(docker.calls.some((call) => call.startsWith('pull')));
});

test('absent: pulled; Always pulls again', async (t) => {
  const { docker, events, ensure } = setUp();
  docker.registry.add('web:1');
  await ensure({});
  await ensure({ imagePullPolicy: 'Always' });
  t.is(docker.calls.filter((call) => call === 'pull web:1').length, 2);
  t.is(events[0], 'Normal Pulling Pulling image "web:1" spec.containers{app}');
  t.regex(
    events[1]!,
    /^Normal Pulled Successfully pulled image "web:1" in 0\.000s \(0\.000s including waiting\)\. Image size: 1000000 bytes\./,
  );
});

test('Never and absent', async (t) => {
  const { events, ensure } = setUp();
  const error = await t.throwsAsync(ensure({ imagePullPolicy: 'Never' }), {
    message: 'Container image "web:1" is not present with pull policy of Never',
  });
  t.is((error as { reason?: string }).reason, 'ErrImageNeverPull');
  t.is(events.length, 1);
});

test('a failed pull backs off 10, 20, 40 s', async (t) => {
  const { docker, clock, ensure } = setUp();
  const reason = async () => ((await ensure({}).catch((error) => error)) as { reason?: string }).reason;
  for (const waitMs of [10_000, 20_000, 40_000]) {
    t.is(await reason(), 'ErrImagePull');
    await clock.advance(waitMs - 1);
    t.is(await reason(), 'ImagePullBackOff');
    await clock.advance(1);
  }
  const error = (await ensure({}).catch((e) => e)) as Error;
  t.regex(error.message, /manifest unknown/);
  const waiting = (await ensure({}).catch((e) => e)) as Error & { retryAfterMs?: number };
  t.is(waiting.message, 'Back-off pulling image "web:1": ErrImagePull: manifest for web:1 not found: manifest unknown');
  t.is(waiting.retryAfterMs, 80_000);
  docker.registry.add('web:1');
  await clock.advance(80_000);
  await ensure({});
});

test('an unusable name', async (t) => {
  const { ensure } = setUp();
  const error = await t.throwsAsync(ensure({ image: 'Not A Name' }));
  t.is((error as { reason?: string }).reason, 'InvalidImageName');
});

test('pull slots: in the order of asking; an aborted wait gives its place up', async (t) => {
  const slots = createPullSlots(1);
  const never = new AbortController().signal;
  const release = await slots.acquire(never);
  const order: string[] = [];
  const stop = new AbortController();
  const second = slots.acquire(stop.signal);
  const third = slots.acquire(never).then((free) => {
    order.push('third');
    free();
  });
  stop.abort(new Error('gone'));
  await t.throwsAsync(second, { message: 'gone' });
  release();
  release();
  await third;
  t.deepEqual(order, ['third']);
});

test('pull secrets: by registry, the longest key first', async (t) => {
  const auths = {
    'https://index.docker.io/v1/': { username: 'hub', password: 'p' },
    'registry.example': { auth: Buffer.from('u:p:q').toString('base64') },
    'registry.example/team': { username: 'team', password: 't' },
    '*.other.example': { username: 'w', password: 'w' },
  };
  const data = { '.dockerconfigjson': Buffer.from(JSON.stringify({ auths })).toString('base64') };
  const config = {
    configMap: async () => undefined,
    secret: async (_: string, name: string) => (name === 's' ? { data } : undefined),
  };
  const pod = podOf({ imagePullSecrets: [{ name: 's' }, { name: 'absent' }] });
  const users = async (image: string) => (await pullCredentials(pod, image, config)).map(({ username }) => username);
  t.deepEqual(await users('registry.example/team/a:1'), ['team', 'u']);
  t.is((await pullCredentials(pod, 'registry.example/x:1', config))[0]!.password, 'p:q');
  t.deepEqual(await users('nginx:1'), ['hub']);
  t.deepEqual(await users('a.other.example/x'), ['w']);
  t.deepEqual(await users('other.example/x'), []);
});

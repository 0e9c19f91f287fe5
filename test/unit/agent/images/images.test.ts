import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import type { RegistryAuth } from '../../../../src/docker/engine.ts';
import { DockerError } from '../../../../src/docker/errors.ts';
import { eventually } from '../../../support/eventually.ts';
import { pullSecret, startImageParts } from '../../../support/image-parts.ts';
import { podOf } from '../pod.ts';

const pod = podOf({ containers: [{ name: 'app', image: 'web:1' }] });
const reasonOf = async (work: Promise<unknown>) =>
  (
    (await work.then(
      () => ({}),
      (error) => error,
    )) as { reason?: string }
  ).reason;

test('present: no pull, whatever the registry', async (t) => {
  const { docker, events, ensure, operations, metric } = await startImageParts(t);
  docker.addImage('web:1');
  await ensure(pod);
  t.deepEqual(events, [
    'default Normal Pulled Container image "web:1" already present on machine and can be accessed by the pod spec.containers{app}',
  ]);
  t.deepEqual(operations, ['image_status']);
  t.is(
    await metric('kubelet_image_manager_ensure_image_requests_total', {
      pull_policy: 'ifnotpresent',
      present_locally: 'true',
      pull_required: 'false',
    }),
    1,
  );
});

test('absent: pulled; Always pulls again, and names the image as the spec does', async (t) => {
  const { docker, events, ensure, metric } = await startImageParts(t);
  docker.registry.add('web:1').add('web:latest');
  docker.onPull = async () => {};
  await ensure(pod);
  await ensure(pod, { imagePullPolicy: 'Always' });
  await ensure(pod, { image: 'web' });
  t.deepEqual(
    docker.calls.filter((call) => call.startsWith('pull')),
    ['pull web:1', 'pull web:1', 'pull web:latest'],
  );
  t.deepEqual(events.slice(0, 2), [
    'default Normal Pulling Pulling image "web:1" spec.containers{app}',
    'default Normal Pulled Successfully pulled image "web:1" in 0s (0s including waiting). Image size: 1000000 bytes. spec.containers{app}',
  ]);
  t.is(events[4], 'default Normal Pulling Pulling image "web" spec.containers{app}');
  t.is(await metric('kubelet_image_pull_duration_seconds', { image_size_in_bytes: '0-10MB' }), 3);
  t.is(
    await metric('kubelet_image_manager_ensure_image_requests_total', {
      pull_policy: 'always',
      present_locally: 'unknown',
      pull_required: 'true',
    }),
    2,
  );
});

test('Never and absent', async (t) => {
  const { events, ensure } = await startImageParts(t);
  const error = await t.throwsAsync(ensure(pod, { imagePullPolicy: 'Never' }), {
    message: 'Container image "web:1" is not present with pull policy of Never',
  });
  t.is((error as { reason?: string }).reason, 'ErrImageNeverPull');
  t.is(events.length, 1);
});

test('an unusable name', async (t) => {
  const { ensure, events } = await startImageParts(t);
  t.is(await reasonOf(ensure(pod, { image: 'Web' })), 'InvalidImageName');
  t.deepEqual(events, [
    'default Warning InspectFailed Failed to apply default image tag "Web": couldn\'t parse image name "Web": invalid reference format: repository name (library/Web) must be lowercase spec.containers{app}',
  ]);
});

test('an Engine that cannot tell', async (t) => {
  const { docker, ensure, events } = await startImageParts(t);
  docker.failNext('inspect-image', new DockerError('inspect image web:1', 'server', 'layer store is broken', 500));
  t.is(await reasonOf(ensure(pod)), 'ImageInspectError');
  t.is(
    events[0],
    'default Warning InspectFailed Failed to inspect image "web:1": layer store is broken spec.containers{app}',
  );
});

test('a failed pull backs off 10, 20, 40 s; forgotten with its pod, and after twice the longest delay', async (t) => {
  const { docker, clock, ensure, images } = await startImageParts(t);
  const reason = () => reasonOf(ensure(pod));
  for (const waitMs of [10_000, 20_000, 40_000]) {
    t.is(await reason(), 'ErrImagePull');
    await clock.advance(waitMs - 1);
    t.is(await reason(), 'ImagePullBackOff');
    await clock.advance(1);
  }
  t.is(await reason(), 'ErrImagePull');
  const waiting = (await ensure(pod).catch((e) => e)) as Error & { retryAfterMs?: number };
  t.is(waiting.message, 'Back-off pulling image "web:1": ErrImagePull: manifest for web:1 not found: manifest unknown');
  t.is(waiting.retryAfterMs, 80_000);
  await clock.advance(600_001);
  t.is(await reason(), 'ErrImagePull');
  await clock.advance(10_000);
  t.is(await reason(), 'ErrImagePull', 'the delay began anew');
  images.forget('uid-1');
  docker.registry.add('web:1');
  await ensure(pod);
});

for (const [text, reason, event, message] of [
  ['unauthorized: authentication required', 'ErrImagePull', 'unauthorized: authentication required', undefined],
  [
    'received unexpected HTTP status: 503 Service Unavailable',
    'RegistryUnavailable',
    'RegistryUnavailable: received unexpected HTTP status: 503 Service Unavailable',
    'image pull failed for web:1 because the registry is unavailable: received unexpected HTTP status: 503 Service Unavailable',
  ],
  [
    'error parsing HTTP 403 response body: "<html><body>a page</body></html>"',
    'ErrImagePull',
    'error parsing HTTP 403 response body: "(an HTML page)',
    undefined,
  ],
] as const)
  test(`what is shown of: ${text}`, async (t) => {
    const { docker, ensure, events, clock } = await startImageParts(t);
    docker.onPull = async () => {
      throw new DockerError('pull image web:1', 'server', text, 500);
    };
    const error = (await t.throwsAsync(ensure(pod))) as Error & { reason?: string };
    t.is(error.reason, reason);
    t.is(error.message, message ?? event);
    t.is(events.at(-1), `default Warning Failed Failed to pull image "web:1": ${event} spec.containers{app}`);
    await clock.advance(9000);
    const waiting = (await t.throwsAsync(ensure(pod))) as Error;
    t.is(waiting.message, `Back-off pulling image "web:1": ${reason}: ${message ?? event}`);
  });

test('an Engine that is away grows no back-off', async (t) => {
  const { docker, ensure } = await startImageParts(t);
  docker.registry.add('web:1');
  docker.failNext('pull', new DockerError('pull image web:1', 'unreachable', 'Docker Engine does not answer'));
  const error = (await t.throwsAsync(ensure(pod))) as Error & { retryAfterMs?: number };
  t.is(error.retryAfterMs, 1000);
  await ensure(pod);
});

const own = (name: string, ...secrets: string[]) =>
  podOf(
    {
      containers: [{ name: 'app', image: 'reg.example/app:1' }],
      imagePullSecrets: secrets.map((secret) => ({ name: secret })),
    },
    { namespace: name, uid: `uid-${name}` },
  );

/** A registry that lets only this password in. */
function lock(docker: Awaited<ReturnType<typeof startImageParts>>['docker'], password: string) {
  const tried: (RegistryAuth | undefined)[] = [];
  docker.registry.add('reg.example/app:1');
  docker.onPull = async (name, { auth }) => {
    tried.push(auth);
    if (auth?.password !== password)
      throw new DockerError(`pull image ${name}`, 'server', 'unauthorized: authentication required', 500);
  };
  return tried;
}

test('secrets are tried in order until one is good; those of other types are passed over', async (t) => {
  const { docker, secrets, ensure } = await startImageParts(t);
  const tried = lock(docker, 'right');
  secrets.set('a/wrong', pullSecret('wrong', { 'reg.example': { username: 'u1', password: 'no' } }, 'a'));
  secrets.set('a/opaque', {
    ...pullSecret('opaque', { 'reg.example': { username: 'u2', password: 'right' } }, 'a'),
    type: 'Opaque',
  });
  secrets.set('a/right', pullSecret('right', { 'reg.example': { username: 'u3', password: 'right' } }, 'a'));
  await ensure(own('a', 'wrong', 'opaque', 'right'));
  t.deepEqual(
    tried.map((auth) => auth?.username),
    ['u1', 'u3'],
  );
});

test('the legacy format', async (t) => {
  const { docker, secrets, ensure } = await startImageParts(t);
  lock(docker, 'right');
  const data = { '.dockercfg': Buffer.from('{"reg.example":{"username":"u","password":"right"}}').toString('base64') };
  secrets.set('a/old', { ...pullSecret('old', {}, 'a'), type: 'kubernetes.io/dockercfg', data: data as never });
  await ensure(own('a', 'old'));
  t.pass();
});

test('missing secrets: an event, and a try without', async (t) => {
  const { docker, ensure, events } = await startImageParts(t);
  const tried = lock(docker, 'right');
  t.is(await reasonOf(ensure(own('a', 'gone', 'lost'))), 'ErrImagePull');
  t.deepEqual(tried, [undefined]);
  t.true(
    events.includes(
      'a Warning FailedToRetrieveImagePullSecret Unable to retrieve some image pull secrets (gone, lost); attempting to pull the image may not succeed.',
    ),
  );
});

test('a malformed secret is named, without what is in it', async (t) => {
  const { docker, secrets, ensure } = await startImageParts(t);
  lock(docker, 'right');
  secrets.set('a/bad', pullSecret('bad', { 'reg.example': { auth: 'not-base64!' } }, 'a'));
  const error = (await t.throwsAsync(ensure(own('a', 'bad')))) as Error & { reason?: string };
  t.is(error.reason, 'ErrImagePull');
  t.is(
    error.message,
    'pull secret a/bad, key .dockerconfigjson: unable to parse auth field of reg.example, must be formatted as base64(username:password)',
  );
});

test('the node’s own credentials: everybody’s', async (t) => {
  const { docker, rootDir, ensure, metric } = await startImageParts(t);
  const tried = lock(docker, 'right');
  const auths = { 'reg.example': { username: 'node', password: 'right' } };
  await writeFile(join(rootDir, 'config.json'), JSON.stringify({ auths }));
  await mkdir(join(rootDir, '.docker'));
  await writeFile(
    join(rootDir, '.docker/config.json'),
    JSON.stringify({ auths: { 'reg.example': { username: 'home', password: 'no' } } }),
  );
  await ensure(own('a'));
  t.deepEqual(
    tried.map((auth) => auth?.username),
    ['node'],
  );
  await ensure(own('b'));
  t.is(tried.length, 1);
  t.is(await metric('kubelet_imagemanager_ondisk_pulledrecords'), 1);
});

test('a private image is for those who show the secret, in whatever namespace', async (t) => {
  const { docker, secrets, ensure, events } = await startImageParts(t);
  const tried = lock(docker, 'right');
  const right = { 'reg.example': { username: 'u', password: 'right' } };
  secrets.set('a/s', pullSecret('s', right, 'a'));
  secrets.set('b/copy', pullSecret('copy', right, 'b'));
  secrets.set('c/wrong', pullSecret('wrong', { 'reg.example': { username: 'u', password: 'no' } }, 'c'));
  await ensure(own('a', 's'));
  await ensure(own('a', 's'));
  await ensure(own('b', 'copy'));
  t.is(tried.length, 1, 'the same content needs no second pull');
  t.is(await reasonOf(ensure(own('c', 'wrong'))), 'ErrImagePull');
  t.is(await reasonOf(ensure(own('d'))), 'ErrImagePull');
  t.is(tried.length, 3);
  const never = own('d');
  events.length = 0;
  t.is(await reasonOf(ensure(never, { imagePullPolicy: 'Never' })), 'ErrImageNeverPull');
  t.deepEqual(events, [
    'd Warning ErrImageNeverPull Container image "reg.example/app:1" is not present with pull policy of Never spec.containers{app}',
  ]);
});

test('NeverVerify: whoever is on the node', async (t) => {
  const { docker, secrets, ensure } = await startImageParts(t, {
    verification: { policy: 'NeverVerify', allowlist: [] },
  });
  const tried = lock(docker, 'right');
  secrets.set('a/s', pullSecret('s', { 'reg.example': { username: 'u', password: 'right' } }, 'a'));
  await ensure(own('a', 's'));
  await ensure(own('d'));
  t.is(tried.length, 1);
});

test('AlwaysVerify: preloaded images are pulled to be sure', async (t) => {
  const { docker, ensure } = await startImageParts(t, { verification: { policy: 'AlwaysVerify', allowlist: [] } });
  docker.addImage('reg.example/app:1');
  const tried = lock(docker, 'right');
  t.is(await reasonOf(ensure(own('a'))), 'ErrImagePull');
  t.is(tried.length, 1);
});

test('an image for something else than a container', async (t) => {
  const { docker, images, events } = await startImageParts(t);
  docker.registry.add('data:1');
  const signal = new AbortController().signal;
  const detail = await images.ensureImage({ pod, image: 'data:1', fieldPath: 'spec.volumes{data}' }, signal);
  t.regex(detail.id, /^sha256:/);
  t.is(events[0], 'default Normal Pulling Pulling image "data:1" spec.volumes{data}');
});

test('a pod that goes takes its pull with it', async (t) => {
  const { docker, ensure, events, rootDir } = await startImageParts(t);
  let cancelled = false;
  docker.onPull = (_name, _options, signal) =>
    new Promise((_, reject) =>
      signal!.addEventListener('abort', () => {
        cancelled = true;
        reject(signal!.reason);
      }),
    );
  const gone = new AbortController();
  const work = ensure(pod, {}, gone.signal);
  await eventually('the pull runs', () => docker.calls.includes('pull web:1'));
  gone.abort(new Error('the pod is gone'));
  await t.throwsAsync(work, { message: 'the pod is gone' });
  t.true(cancelled);
  t.is(events.length, 1, 'nothing but Pulling');
  t.deepEqual(await readdir(join(rootDir, 'image_manager/pulling')), []);
});

test('what the node needs is pulled with its own credentials, and is every pod’s', async (t) => {
  const { docker, rootDir, ensure, pullForNode } = await startImageParts(t);
  const tried = lock(docker, 'right');
  const signal = new AbortController().signal;
  await t.throwsAsync(pullForNode('reg.example/app:1', signal), {
    message: 'pull of reg.example/app:1 failed: unauthorized: authentication required',
  });
  const auths = { 'reg.example': { username: 'node', password: 'right' } };
  await writeFile(join(rootDir, 'config.json'), JSON.stringify({ auths }));
  await pullForNode('reg.example/app:1', signal);
  await ensure(own('a'));
  t.is(tried.length, 2);
});

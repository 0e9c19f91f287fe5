import { mkdtemp, readFile, readlink, rm } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { createPodDirectories } from '../../../../agent/volumes/pod-directories.ts';
import { createServiceAccountTokens } from '../../../../agent/volumes/tokens.ts';
import { createVolumes } from '../../../../agent/volumes/volumes.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { createFakeClock } from '../../../fakes/clock.ts';
import { mounting, podOf } from '../pod.ts';

/** Tokens `token-1`, `token-2` … that live as long as was asked for. */
function scene(random = 0) {
  const clock = createFakeClock();
  const requests: { spec: { expirationSeconds: number }; [key: string]: unknown }[] = [];
  const api = { isDown: false };
  const client = {
    create: async (_: unknown, body: object, target: object) => {
      if (api.isDown) throw new Error('connection refused');
      const draft = body as { spec: { expirationSeconds: number } };
      requests.push({ ...draft, ...target });
      const expirationTimestamp = new Date(clock.nowMs() + draft.spec.expirationSeconds * 1000).toISOString();
      return { status: { token: `token-${requests.length}`, expirationTimestamp } };
    },
  };
  const tokens = createServiceAccountTokens({
    client: client as never,
    clock,
    log: silentLogger,
    random: () => random,
  });
  return { clock, requests, api, tokens };
}

const pod = podOf({ serviceAccountName: 'robot' });
const projection = { path: 'token', expirationSeconds: 1000 };

test('a token is asked for once, bound to the pod, and renewed at 80 % of its life', async (t) => {
  const { clock, requests, tokens } = scene();
  t.is(await tokens.token(pod, projection), 'token-1');
  t.like(requests[0], {
    kind: 'TokenRequest',
    spec: {
      audiences: [],
      expirationSeconds: 1000,
      boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name: pod.metadata.name, uid: pod.metadata.uid },
    },
    namespace: pod.metadata.namespace,
    name: 'robot',
    subresource: 'token',
  });
  await clock.advance(799_000);
  t.is(await tokens.token(pod, projection), 'token-1');
  await clock.advance(1_000);
  t.is(await tokens.token(pod, projection), 'token-2');
  tokens.forget(pod.metadata.uid);
  t.is(await tokens.token(pod, projection), 'token-3');
});

test('one for each audience; up to ten seconds earlier; after a day in any case', async (t) => {
  const { clock, tokens } = scene(1);
  t.is(await tokens.token(pod, projection), 'token-1');
  t.is(await tokens.token(pod, { ...projection, audience: 'vault' }), 'token-2');
  await clock.advance(789_000);
  t.is(await tokens.token(pod, projection), 'token-1');
  await clock.advance(1_000);
  t.is(await tokens.token(pod, projection), 'token-3');
  const long = { path: 'token', expirationSeconds: 30 * 86_400 };
  t.is(await tokens.token(pod, long), 'token-4');
  await clock.advance(86_400_000);
  t.is(await tokens.token(pod, long), 'token-5');
});

test('while no new one can be had the old one serves until it expires', async (t) => {
  const { clock, api, tokens } = scene();
  await tokens.token(pod, projection);
  api.isDown = true;
  await clock.advance(999_000);
  t.is(await tokens.token(pod, projection), 'token-1');
  await clock.advance(1_000);
  await t.throwsAsync(tokens.token(pod, projection), { message: 'connection refused' });
});

test('a renewed token replaces the file in one step; an API server that is away leaves it', async (t) => {
  const root = await mkdtemp('/tmp/berth-unit-tokens-');
  t.teardown(() => rm(root, { recursive: true, force: true }));
  const { clock, api, tokens } = scene();
  const events: string[] = [];
  const volumes = createVolumes({
    directories: createPodDirectories(root),
    tokens,
    resources: { nodeAllocatable: () => ({ cpuMillis: 1, memoryBytes: 1, ephemeralStorageBytes: 1 }) },
    log: silentLogger,
    events: { event: (_pod, _type, reason, message) => events.push(`${reason} ${message}`) },
    mount: () => {},
  });
  const withVolume = podOf(mounting([{ name: 'v', projected: { sources: [{ serviceAccountToken: projection }] } }]));
  const { hostPath } = (await volumes.ensure(withVolume)).get('v')!;
  const file = join(hostPath, 'token');
  t.is(await readFile(file, 'utf8'), 'token-1');
  const before = await readlink(join(hostPath, '..data'));
  await clock.advance(800_000);
  await volumes.ensure(withVolume);
  t.is(await readFile(file, 'utf8'), 'token-2');
  t.not(await readlink(join(hostPath, '..data')), before);
  api.isDown = true;
  await clock.advance(2_000_000);
  t.is((await volumes.ensure(withVolume)).get('v')?.hostPath, hostPath);
  t.is(await readFile(file, 'utf8'), 'token-2');
  t.deepEqual(events, ['FailedMount MountVolume.SetUp failed for volume "v" : connection refused']);
  const fresh = podOf(mounting([{ name: 'w', projected: { sources: [{ serviceAccountToken: projection }] } }]));
  await t.throwsAsync(
    volumes.ensure(fresh),
    { message: /connection refused/ },
    'a pod that has no token does not start',
  );
});

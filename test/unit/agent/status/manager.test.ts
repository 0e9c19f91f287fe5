import test from 'ava';
import { createStatusManager } from '../../../../agent/status/manager.ts';
import { diffPodStatus } from '../../../../agent/status/patch.ts';
import type { KubeClient } from '../../../../src/kube/client.ts';
import { ApiError } from '../../../../src/kube/errors.ts';
import type { Pod, PodStatus } from '../../../../src/kube/types.ts';
import { systemClock } from '../../../../src/runtime/clock.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { podOf } from '../pod.ts';

type Patch = { metadata: { uid: string }; status: Record<string, unknown> };

/** An API server of one pod: strict about UIDs, merges top-level status fields and conditions by type. */
function fakeApi(pod: Pod) {
  const calls: string[] = [];
  const api = { pod: pod as Pod | undefined, calls, failures: 0, gate: Promise.resolve() };
  const refuse = (code: number, reason: string): never => {
    throw new ApiError({ code, reason, message: reason } as never);
  };
  const check = (uid: string | undefined): Pod => {
    if (!api.pod) return refuse(404, 'NotFound');
    if (uid !== api.pod.metadata.uid) return refuse(409, 'Conflict');
    return api.pod;
  };
  const client = {
    async patch(_: unknown, { patch, subresource, type }: { patch: Patch; subresource: string; type: string }) {
      await api.gate;
      if (api.failures-- > 0) refuse(503, 'ServiceUnavailable');
      const live = check(patch.metadata.uid);
      const { conditions = [], ...rest } = patch.status as PodStatus;
      const kept = (live.status?.conditions ?? []).filter((one) => !conditions.some(({ type: t }) => t === one.type));
      const version = Number(live.metadata.resourceVersion) + 1;
      api.pod = {
        ...live,
        metadata: { ...live.metadata, resourceVersion: String(version) },
        status: { ...live.status, ...rest, conditions: [...kept, ...conditions] },
      };
      calls.push(`${type} ${subresource} ${Object.keys(patch.status).sort()}`);
      return api.pod;
    },
    async delete(_: unknown, { uid, gracePeriodSeconds }: { uid: string; gracePeriodSeconds: number }) {
      check(uid);
      calls.push(`delete grace ${gracePeriodSeconds} in phase ${api.pod?.status?.phase}`);
      api.pod = undefined;
    },
  } as unknown as KubeClient;
  return Object.assign(api, { client });
}

const settle = (ms = 20) => new Promise((resolve) => setTimeout(resolve, ms));
const running: PodStatus = { phase: 'Running', conditions: [{ type: 'Ready', status: 'False', reason: 'r' }] };
const failed: PodStatus = { phase: 'Failed', conditions: [{ type: 'Ready', status: 'False', reason: 'PodFailed' }] };

function start(pod: Pod, mirrorOf: (pod: Pod) => Pod | undefined = () => undefined) {
  const api = fakeApi(pod);
  const stop = new AbortController();
  const manager = createStatusManager({
    client: api.client,
    mirrors: { of: mirrorOf },
    log: silentLogger,
    clock: systemClock,
  });
  const done = manager.run(stop.signal);
  const end = () => {
    stop.abort();
    return done;
  };
  return { api, manager, stop: end };
}

test('publishes at once, only on change, and coalesces', async (t) => {
  const pod = podOf();
  const { api, manager, stop } = start(pod);
  manager.set(pod, running);
  t.is(manager.get('uid-1'), running);
  await settle();
  manager.set(pod, { ...running });
  await settle();
  t.deepEqual(api.calls, ['strategic status conditions,phase']);
  let open = () => {};
  api.gate = new Promise((resolve) => {
    open = resolve;
  });
  for (const podIP of ['10.0.0.1', '10.0.0.2', '10.0.0.3']) manager.set(pod, { ...running, podIP });
  open();
  await settle();
  t.is(api.pod?.status?.podIP, '10.0.0.3');
  t.true(api.calls.length <= 3);
  await stop();
});

test('what somebody else overwrote is put right; an older copy from the watch is not mistaken for that', async (t) => {
  const pod = podOf();
  const { api, manager, stop } = start(pod);
  manager.set(pod, running);
  await settle();
  manager.set(pod, running);
  await settle();
  t.is(api.calls.length, 1);
  api.pod = { ...api.pod!, metadata: { ...api.pod!.metadata, resourceVersion: '9' }, status: { phase: 'Pending' } };
  manager.set(api.pod, running);
  await settle();
  t.is(api.pod?.status?.phase, 'Running');
  await stop();
});

test('what the node controller wrote while the node was out of reach is put right as soon as it is seen', async (t) => {
  const pod = podOf();
  const { api, manager, stop } = start(pod);
  const ready: PodStatus = { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] };
  manager.observe(pod);
  manager.set(pod, ready);
  await settle();
  const published = api.pod!;
  manager.observe(published);
  await settle();
  t.is(api.calls.length, 1, 'its own words are no news');
  const as = (resourceVersion: string, status: PodStatus): Pod => ({
    ...published,
    metadata: { ...published.metadata, resourceVersion },
    status,
  });
  api.pod = as('9', { ...ready, conditions: [{ type: 'Ready', status: 'False' }] });
  manager.observe(api.pod);
  await settle();
  t.is(api.pod.status?.conditions?.[0]?.status, 'True');
  t.is(api.calls.length, 2);
  manager.observe(as('20', failed));
  await settle();
  t.is(api.calls.length, 2, 'what is over stays over');
  await stop();
});

test('retries, and gives up on pods that are gone or another one', async (t) => {
  const pod = podOf();
  const { api, manager, stop } = start(pod);
  api.failures = 1;
  manager.set(pod, running);
  await settle(400);
  t.is(api.pod?.status?.phase, 'Running');
  api.pod = podOf({}, { uid: 'another' });
  manager.set(pod, { ...running, podIP: '1.1.1.1' });
  await settle();
  t.is(manager.get('uid-1'), undefined);
  t.is(api.pod?.status, undefined);
  await stop();
});

test('removal: the final status first, then the object', async (t) => {
  const pod = podOf({}, { deletionTimestamp: '2026-01-01T00:00:00Z' });
  const { api, manager, stop } = start(pod);
  manager.set(pod, running);
  await settle();
  manager.set(pod, failed);
  await settle();
  t.truthy(api.pod, 'not before the worker has finished');
  manager.finished(pod);
  await settle();
  t.is(api.pod, undefined);
  t.is(api.calls.at(-1), 'delete grace 0 in phase Failed');
  await stop();
});

test('removal: a pod that finished without a terminal status gets one; a pod nobody deletes stays', async (t) => {
  const pod = podOf();
  const { api, manager, stop } = start(pod);
  manager.set(pod, running);
  manager.finished(pod);
  await settle();
  t.is(api.pod?.status?.phase, 'Failed');
  t.truthy(api.pod);
  manager.finished({ ...api.pod!, metadata: { ...api.pod!.metadata, deletionTimestamp: 'now' } });
  await settle();
  t.is(api.pod, undefined);
  await stop();
});

test('after a restart: a finished pod of which nothing is cached', async (t) => {
  const pod = { ...podOf({}, { deletionTimestamp: 'now' }), status: failed };
  const { api, manager, stop } = start(pod);
  manager.finished(pod);
  await settle();
  t.deepEqual(api.calls, ['delete grace 0 in phase Failed']);
  await stop();
});

test('forbidden steps are not published', async (t) => {
  const pod = podOf({ restartPolicy: 'Never' });
  const { api, manager, stop } = start(pod);
  const ended = { name: 'app', ready: false, restartCount: 0, image: '', imageID: '' };
  manager.set(pod, { ...running, containerStatuses: [{ ...ended, state: { terminated: { exitCode: 1 } } }] });
  manager.set(pod, { ...running, containerStatuses: [{ ...ended, state: { running: {} } }] });
  t.truthy(manager.get('uid-1')?.containerStatuses?.[0]?.state?.terminated);
  manager.set(pod, failed);
  manager.set(pod, running);
  await settle();
  t.is(api.pod?.status?.phase, 'Failed');
  await stop();
});

test('static pods are published through their mirror, when there is one', async (t) => {
  const source = podOf({}, { uid: 'hash', annotations: { 'kubernetes.io/config.source': 'file' } });
  const mirror = podOf({}, { uid: 'mirror-uid' });
  let mirrored = false;
  const { api, manager, stop } = start(mirror, () => (mirrored ? mirror : undefined));
  manager.set(source, running);
  await settle();
  t.deepEqual(api.calls, []);
  mirrored = true;
  manager.set(source, running);
  await settle();
  t.is(api.pod?.status?.phase, 'Running');
  manager.finished(source);
  await settle();
  t.is(api.calls.length, 1);
  manager.retain(new Set());
  t.is(manager.get('hash'), undefined);
  await stop();
});

test('a status that comes back while another is on its way is published after it', async (t) => {
  const pod = { ...podOf(), status: running };
  const { api, manager, stop } = start(pod);
  manager.set(pod, running);
  await settle();
  let open = () => {};
  api.gate = new Promise((resolve) => {
    open = resolve;
  });
  manager.set(pod, { ...running, podIP: '10.0.0.1' });
  await settle();
  manager.set(pod, running);
  open();
  await settle();
  t.is(api.pod?.status?.podIP ?? undefined, undefined);
  await stop();
});

test('after a restart of the agent what was published still binds: nobody is brought back to life', async (t) => {
  const ended = (exitCode: number) => ({
    name: 'app',
    state: { terminated: { exitCode } },
    ready: false,
    restartCount: 0,
    image: '',
    imageID: '',
  });
  const before: PodStatus = { phase: 'Running', containerStatuses: [ended(0)] };
  const pod = { ...podOf({ restartPolicy: 'OnFailure' }), status: before };
  const { api, manager, stop } = start(pod);
  manager.set(pod, { phase: 'Pending', containerStatuses: [{ ...ended(0), state: { waiting: { reason: 'x' } } }] });
  await settle();
  t.deepEqual(api.calls, []);
  t.is(manager.get('uid-1'), before);
  const after: PodStatus = { phase: 'Succeeded', containerStatuses: [ended(0)] };
  manager.set(pod, after);
  await settle();
  t.is(api.pod?.status?.phase, 'Succeeded');
  await stop();
});

test("a static pod's history is its mirror's, until it has told something itself", async (t) => {
  const source = podOf({}, { uid: 'hash', annotations: { 'kubernetes.io/config.source': 'file' } });
  const shown: PodStatus = { phase: 'Running', startTime: '2026-01-01T00:00:00Z' };
  const mirror = { ...podOf({}, { uid: 'mirror-uid' }), status: shown };
  let mirrored: Pod | undefined;
  const { manager, stop } = start(mirror, () => mirrored);
  t.is(manager.known(source), undefined);
  const first: PodStatus = { phase: 'Running', startTime: '2026-01-02T00:00:00Z' };
  manager.set(source, first);
  t.is(manager.known(source), first);
  mirrored = { ...mirror, status: { phase: 'Pending' } };
  t.is(manager.known(source), first, 'a fresh mirror knows nothing');
  mirrored = { ...mirror, status: { ...shown, phase: 'Failed', reason: 'OutOfcpu' } };
  t.deepEqual(
    manager.known(source),
    { startTime: shown.startTime },
    'a verdict of an earlier life is none of this one',
  );
  mirrored = mirror;
  t.is(manager.known(source), shown);
  manager.set(source, shown);
  await settle();
  mirrored = { ...mirror, status: { ...shown, startTime: 'overwritten' } };
  t.is(manager.known(source), shown);
  await stop();
});

test('patch: only what differs; old reasons and addresses are cleared; conditions of others are left alone', (t) => {
  const live: PodStatus = {
    phase: 'Failed',
    reason: 'x',
    podIPs: [{ ip: '10.0.0.1' }],
    conditions: [
      { type: 'Ready', status: 'False', reason: 'ContainersNotReady', message: 'm', lastProbeTime: null as never },
      { type: 'Initialized', status: 'True' },
      { type: 'a/b', status: 'True' },
    ],
  };
  const wanted: PodStatus = {
    phase: 'Failed',
    podIPs: [{ ip: '10.0.0.2' }],
    conditions: [
      { type: 'Ready', status: 'True' },
      { type: 'Initialized', status: 'True' },
      { type: 'a/b', status: 'False' },
    ],
  };
  t.deepEqual(diffPodStatus('u', live, wanted), {
    metadata: { uid: 'u' },
    status: {
      reason: null,
      podIPs: [{ ip: '10.0.0.2' }, { $patch: 'replace' }],
      conditions: [{ type: 'Ready', status: 'True', reason: null, message: null }],
    },
  });
  t.is(diffPodStatus('u', wanted, wanted), undefined);
});

import test from 'ava';
import { DockerError } from '../../../../src/docker/errors.ts';
import type { Pod } from '../../../../src/kube/types.ts';
import { createFakeAgent, until } from '../fake-agent.ts';
import { podOf } from '../pod.ts';

function pod(spec: Partial<Pod['spec']> = {}, metadata: Partial<Pod['metadata']> = {}): Pod {
  const containers = spec.containers ?? [{ name: 'app' }];
  return podOf(
    {
      terminationGracePeriodSeconds: 30,
      dnsPolicy: 'Default',
      ...spec,
      containers: containers.map((container) => ({ image: 'busybox:1', ...container })),
      ...(spec.initContainers && {
        initContainers: spec.initContainers.map((container) => ({ image: 'busybox:1', ...container })),
      }),
    },
    metadata,
  );
}

const deleted = (one: Pod, graceSeconds: number): Pod => ({
  ...one,
  metadata: {
    ...one.metadata,
    deletionTimestamp: '2026-01-01T00:00:30Z',
    deletionGracePeriodSeconds: graceSeconds,
  },
});

test('a pod starts with the fewest calls: four, an image look and one inspection', async (t) => {
  const agent = await createFakeAgent(t);
  const one = pod();
  agent.workers.update(one);
  await until('running', () => agent.phase(one) === 'Running');
  const calls = agent.docker.calls.map((call) => call.split(' ')[0]).filter((call) => call !== 'events');
  t.deepEqual(calls.toSorted(), ['create', 'create', 'inspect', 'inspect-image', 'start', 'start']);
  t.deepEqual(agent.runningNames(), ['k8s_POD_web_default_uid-1_0', 'k8s_app_web_default_uid-1_0']);
});

test('containers start in the order of the spec, and are created while the sandbox starts', async (t) => {
  const agent = await createFakeAgent(t);
  const one = pod({ containers: [{ name: 'a' }, { name: 'b' }, { name: 'c' }] });
  agent.workers.update(one);
  await until('running', () => agent.phase(one) === 'Running');
  const nameOf = (id: string) => agent.docker.containers.get(id)!.detail.labels['io.kubernetes.container.name'];
  const started = agent.docker.calls.filter((call) => call.startsWith('start ')).map((call) => nameOf(call.slice(6)));
  t.deepEqual(started, ['POD', 'a', 'b', 'c']);
});

test('a crash is followed by a restart at once, the second one by a wait', async (t) => {
  // A machine that stands still for longer than twice this would have the first crash forgotten.
  const agent = await createFakeAgent(t, {}, 3000);
  const one = pod();
  agent.workers.update(one);
  await until('running', () => agent.phase(one) === 'Running');
  agent.docker.exit(agent.container(one, 'app')!.id, 1);
  await until(
    'restarted',
    () => agent.container(one, 'app')?.state === 'running' && agent.container(one, 'app')?.restartCount === 1,
  );
  agent.docker.exit(agent.container(one, 'app')!.id, 1);
  await until('waiting', () => agent.reasons().includes('BackOff'));
  t.is(agent.statuses.get('uid-1')!.containerStatuses![0]!.state!.waiting!.reason, 'CrashLoopBackOff');
  await until('restarted again', () => agent.container(one, 'app')?.restartCount === 2);
  await until('the oldest is gone', () => agent.runtime.pod('uid-1').containers.length === 2);
  t.pass();
});

test('deletion: containers, then sandbox, network, directories; the status manager is told last', async (t) => {
  const agent = await createFakeAgent(t);
  const one = pod();
  agent.workers.update(one);
  await until('running', () => agent.phase(one) === 'Running');
  agent.workers.update(deleted(one, 7));
  await until('finished', () => agent.finished.includes('uid-1'));
  t.true(agent.docker.calls.some((call) => /^stop [0-9a-f]{64} 7$/.test(call)));
  t.is(agent.docker.containers.size, 0);
  t.is(agent.network.attachments.size, 0);
  t.deepEqual(await agent.directories.list(), []);
  t.is(agent.published.at(-1)!.status.containerStatuses![0]!.state!.terminated!.exitCode, 0);
  agent.workers.remove('uid-1');
  await until('forgotten', () => !agent.workers.get('uid-1'));
});

test('a kill is never taken back, and its grace only shrinks', async (t) => {
  const agent = await createFakeAgent(t);
  const one = pod({ containers: [{ name: 'app', lifecycle: { preStop: { sleep: { seconds: 600 } } } }] });
  agent.workers.update(one);
  await until('running', () => agent.phase(one) === 'Running');
  agent.workers.update(deleted(one, 600));
  await until('being killed', () => agent.reasons().includes('Killing'));
  agent.workers.update(one);
  agent.workers.update(deleted(one, 900));
  t.is(agent.workers.get('uid-1')!.state, 'terminating');
  t.is(agent.workers.get('uid-1')!.graceSeconds, 600);
  agent.workers.update(deleted(one, 0));
  await until('finished', () => agent.finished.includes('uid-1'));
  t.true(
    agent.docker.calls.some((call) => /^stop [0-9a-f]{64} 2$/.test(call)),
    'never less than two seconds',
  );
});

test('sidecars are stopped after the others, in reverse order', async (t) => {
  const agent = await createFakeAgent(t);
  const one = pod({
    initContainers: [
      { name: 's1', restartPolicy: 'Always' },
      { name: 's2', restartPolicy: 'Always' },
    ],
    containers: [{ name: 'a' }, { name: 'b' }],
  });
  agent.workers.update(one);
  await until('running', () => agent.phase(one) === 'Running');
  const names = new Map(agent.runtime.pod('uid-1').containers.map(({ id, name }) => [id, name]));
  agent.workers.update(deleted(one, 30));
  await until('finished', () => agent.finished.includes('uid-1'));
  const stopped = agent.docker.calls
    .filter((call) => call.startsWith('stop '))
    .map((call) => names.get(call.split(' ')[1]!));
  t.deepEqual(stopped.slice(0, 2).toSorted(), ['a', 'b']);
  t.deepEqual(stopped.slice(2), ['s2', 's1']);
});

test('a failed network takes everything back and is tried again', async (t) => {
  const agent = await createFakeAgent(t);
  agent.network.failNext(new Error('no address left'));
  const one = pod();
  agent.workers.update(one);
  await until('failed', () => agent.reasons().includes('FailedCreatePodSandBox'));
  t.is(
    agent.events.find(({ reason }) => reason === 'FailedCreatePodSandBox')!.message,
    'Failed to create pod sandbox: no address left',
  );
  await until('running', () => agent.phase(one) === 'Running');
  t.is(agent.docker.containers.size, 2);
});

test('a container that cannot start says why; the pod goes on', async (t) => {
  const agent = await createFakeAgent(t);
  const engineError = new DockerError('create', 'badRequest', 'invalid mount', 400);
  agent.docker.failNext('create k8s_bad', engineError);
  const one = pod({ containers: [{ name: 'bad' }, { name: 'good' }] });
  agent.workers.update(one);
  await until('good runs', () => agent.container(one, 'good')?.state === 'running');
  await until('published', () => agent.statuses.get('uid-1')?.containerStatuses?.[1]?.state?.running);
  t.like(agent.statuses.get('uid-1')!.containerStatuses![0]!.state!.waiting, {
    reason: 'CreateContainerError',
    message: 'invalid mount',
  });
});

test('the network not ready: an event, no sandbox; host-network pods start all the same', async (t) => {
  const agent = await createFakeAgent(t);
  agent.network.setStatus({ ready: false, reason: 'NetworkPluginNotReady', message: 'no podCIDR yet' });
  const one = pod();
  const host = pod({ hostNetwork: true }, { uid: 'uid-2', name: 'host' });
  agent.workers.update(one);
  agent.workers.update(host);
  await until('host pod runs', () => agent.phase(host) === 'Running');
  t.true(
    agent.events.some(
      ({ reason, message }) => reason === 'NetworkNotReady' && message === 'network is not ready: no podCIDR yet',
    ),
  );
  t.is(agent.runtime.pod('uid-1').sandboxes.length, 0);
  agent.network.setStatus({ ready: true });
  await until('running', () => agent.phase(one) === 'Running');
});

test('a failed liveness probe restarts the container', async (t) => {
  const agent = await createFakeAgent(t);
  const one = pod();
  agent.workers.update(one);
  await until('running', () => agent.phase(one) === 'Running');
  agent.results.set(agent.container(one, 'app')!.id, 'failure');
  agent.workers.poke('uid-1');
  await until(
    'restarted',
    () => agent.container(one, 'app')?.restartCount === 1 && agent.container(one, 'app')?.state === 'running',
  );
  t.true(agent.events.some(({ message }) => message === 'Container app failed liveness probe, will be restarted'));
});

test('rejected pods end as Failed without a container', async (t) => {
  const agent = await createFakeAgent(t, {
    admission: {
      allocation: {
        name: 'allocation',
        admit: () => ({ reason: 'OutOfcpu', message: 'Node didn’t have enough resource: cpu' }),
      },
    },
  });
  const one = pod();
  agent.workers.update(one);
  await until('finished', () => agent.finished.includes('uid-1'));
  t.like(agent.statuses.get('uid-1')!, { phase: 'Failed', reason: 'OutOfcpu' });
  t.is(agent.docker.containers.size, 0);
});

test('what is not supported is refused by name', async (t) => {
  const agent = await createFakeAgent(t);
  const one = pod({ hostUsers: false });
  agent.workers.update(one);
  await until('finished', () => agent.finished.includes('uid-1'));
  t.regex(agent.statuses.get('uid-1')!.message!, /^Pod was rejected: not supported by this node: spec\.hostUsers/);
});

test('the active deadline ends the pod', async (t) => {
  const agent = await createFakeAgent(t);
  const one = { ...pod({ activeDeadlineSeconds: 1 }), status: { startTime: new Date(Date.now() - 500).toISOString() } };
  agent.workers.update(one);
  await until('running', () => agent.container(one, 'app')?.state === 'running');
  await until('finished', () => agent.finished.includes('uid-1'));
  t.like(agent.statuses.get('uid-1')!, { phase: 'Failed', reason: 'DeadlineExceeded' });
});

test('a pod that the API has as Succeeded is not run again', async (t) => {
  const agent = await createFakeAgent(t);
  agent.workers.update({ ...pod({ restartPolicy: 'Never' }), status: { phase: 'Succeeded' } });
  await until('finished', () => agent.finished.includes('uid-1'));
  t.deepEqual(
    agent.docker.calls.filter((call) => call.startsWith('create')),
    [],
  );
});

test('adoption: a second agent over the same Engine starts nothing', async (t) => {
  const first = await createFakeAgent(t);
  const one = pod();
  first.workers.update(one);
  await until('running', () => first.phase(one) === 'Running');
  const second = await createFakeAgent(t, { docker: first.docker, network: first.network });
  await second.runtime.relist(new AbortController().signal);
  const before = first.docker.calls.length;
  second.workers.update(one);
  await until('running', () => second.phase(one) === 'Running');
  t.deepEqual(first.docker.calls.slice(before), []);
  t.is(second.container(one, 'app')!.id, first.container(one, 'app')!.id);
});

test('an updated static pod waits until its predecessor is gone', async (t) => {
  const agent = await createFakeAgent(t);
  const annotations = { 'kubernetes.io/config.source': 'file' };
  const old = pod({}, { annotations });
  agent.workers.update(old);
  await until('running', () => agent.phase(old) === 'Running');
  agent.workers.remove('uid-1');
  const next = pod({}, { annotations, uid: 'uid-2' });
  agent.workers.update(next);
  await until('the next runs', () => agent.phase(next) === 'Running');
  t.is(agent.workers.get('uid-1'), undefined);
  const firstOfNext = agent.docker.calls.findIndex((call) => call.includes('uid-2'));
  const lastOfOld = agent.docker.calls.findLastIndex((call) => call.startsWith('remove '));
  t.true(firstOfNext > lastOfOld);
});

test('a missing pause image is pulled', async (t) => {
  const agent = await createFakeAgent(t);
  await agent.docker.removeImage('pause:1');
  agent.docker.registry.add('pause:1');
  const one = pod();
  agent.workers.update(one);
  await until('running', () => agent.phase(one) === 'Running');
  t.true(agent.docker.calls.includes('pull pause:1'));
});

test('a manifest that comes back unchanged runs again, also while the first life ends', async (t) => {
  const agent = await createFakeAgent(t);
  const one = pod({}, { annotations: { 'kubernetes.io/config.source': 'file' } });
  agent.workers.update(one);
  await until('running', () => agent.phase(one) === 'Running');
  const { id } = agent.container(one, 'app')!;
  agent.workers.remove('uid-1');
  agent.workers.update(one);
  await until('runs anew', () => {
    const app = agent.container(one, 'app');
    return app?.state === 'running' && app.id !== id;
  });
  agent.workers.remove('uid-1');
  await until('forgotten', () => !agent.workers.get('uid-1'));
  t.is(agent.statuses.size, 0);
  agent.workers.update(one);
  await until('runs again', () => agent.phase(one) === 'Running');
  agent.workers.remove('uid-1');
  agent.workers.update(one);
  agent.workers.remove('uid-1');
  await until('the last word counts', () => !agent.workers.get('uid-1'));
});

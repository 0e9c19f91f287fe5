/** Stories of pods over the fake Engine: what the plan's table cannot show. */
import test from 'ava';
import { DockerError } from '../../../../src/docker/errors.ts';
import type { Pod } from '../../../../src/kube/types.ts';
import { createFakeAgent, until } from '../fake-agent.ts';
import { podOf } from '../pod.ts';

function pod(spec: Partial<Pod['spec']> = {}, metadata: Partial<Pod['metadata']> = {}): Pod {
  const withImage = <T extends { name: string }>(list: readonly T[] | undefined) =>
    list?.map((container) => ({ image: 'busybox:1', ...container }));
  const { initContainers, ephemeralContainers } = spec;
  return podOf(
    {
      terminationGracePeriodSeconds: 30,
      dnsPolicy: 'Default',
      ...spec,
      containers: withImage(spec.containers ?? [{ name: 'app' }])!,
      ...(initContainers && { initContainers: withImage(initContainers)! }),
      ...(ephemeralContainers && { ephemeralContainers: withImage(ephemeralContainers)! }),
    },
    metadata,
  );
}

const deleted = (one: Pod, graceSeconds: number): Pod => ({
  ...one,
  metadata: { ...one.metadata, deletionTimestamp: '2026-01-01T00:00:30Z', deletionGracePeriodSeconds: graceSeconds },
});
const withDebugger = (one: Pod, name: string, targetContainerName?: string): Pod => ({
  ...one,
  spec: {
    ...one.spec,
    ephemeralContainers: [
      ...(one.spec.ephemeralContainers ?? []),
      { name, image: 'busybox:1', ...(targetContainerName && { targetContainerName }) },
    ],
  },
});

test('an ephemeral container joins the processes of its target, and runs once', async (t) => {
  const agent = await createFakeAgent(t);
  const one = pod();
  agent.workers.update(one);
  await until('running', () => agent.phase(one) === 'Running');
  const target = agent.container(one, 'app')!.id;
  const debugged = withDebugger(one, 'debug', 'app');
  agent.workers.update(debugged);
  await until('debugging', () => agent.container(one, 'debug')?.state === 'running');
  const debug = agent.container(one, 'debug')!;
  t.is(agent.docker.containers.get(debug.id)!.config.HostConfig!.PidMode, `container:${target}`);
  t.is(agent.container(one, 'app')!.id, target, 'nothing else was touched');
  agent.docker.exit(debug.id, 3);
  await until('told', () => agent.statuses.get('uid-1')!.ephemeralContainerStatuses?.[0]?.state?.terminated);
  agent.workers.poke('uid-1');
  agent.docker.exit(agent.container(one, 'app')!.id, 1);
  await until('the app restarted', () => agent.container(one, 'app')!.restartCount === 1);
  t.is(agent.container(one, 'debug')!.id, debug.id);
  const [sandbox] = agent.runtime.pod('uid-1').sandboxes;
  agent.docker.exit(sandbox!.id, 0);
  await until('a new sandbox', () => {
    const app = agent.container(one, 'app');
    return app?.state === 'running' && app.sandboxId !== sandbox!.id;
  });
  agent.workers.poke('uid-1');
  await until('settled', () => agent.phase(one) === 'Running');
  t.is(agent.container(one, 'debug')!.id, debug.id, 'not in a new sandbox either');
  t.true(
    agent.events.some(
      ({ reason, fieldPath }) => reason === 'Started' && fieldPath === 'spec.ephemeralContainers{debug}',
    ),
  );
});

test('an ephemeral container without its target waits and says so; it does not keep the pod', async (t) => {
  const agent = await createFakeAgent(t);
  const one = withDebugger(pod({ restartPolicy: 'Never' }), 'debug', 'nobody');
  agent.workers.update(one);
  await until('waiting', () => agent.statuses.get('uid-1')?.ephemeralContainerStatuses?.[0]?.state?.waiting?.message);
  t.like(agent.statuses.get('uid-1')!.ephemeralContainerStatuses![0]!.state!.waiting, {
    reason: 'CreateContainerConfigError',
    message: 'unable to find target container nobody',
  });
  await until('the app runs', () => agent.container(one, 'app')?.state === 'running');
  agent.docker.exit(agent.container(one, 'app')!.id, 0);
  await until('over', () => agent.finished.includes('uid-1'));
  t.is(agent.phase(one), 'Succeeded');
});

const RULED = {
  restartPolicy: 'Never' as const,
  restartPolicyRules: [
    { action: 'RestartAllContainers' as const, exitCodes: { operator: 'In' as const, values: [42] } },
  ],
};

test('RestartAllContainers: all but the sandbox is made anew, from the first init container on', async (t) => {
  const agent = await createFakeAgent(t);
  const one = pod({
    restartPolicy: 'Never',
    initContainers: [{ name: 'init' }, { name: 'side', restartPolicy: 'Always' }],
    containers: [{ name: 'main', ...RULED }, { name: 'other' }],
  });
  agent.workers.update(one);
  await until('init runs', () => agent.container(one, 'init')?.state === 'running');
  agent.docker.exit(agent.container(one, 'init')!.id, 0);
  await until('running', () => agent.phase(one) === 'Running' && agent.container(one, 'other')?.state === 'running');
  const before = new Set(agent.runtime.pod('uid-1').containers.map(({ id }) => id));
  const [sandbox] = agent.runtime.pod('uid-1').sandboxes;
  const source = agent.container(one, 'main')!.id;
  agent.docker.exit(source, 42);
  await until('init runs again', () => agent.container(one, 'init')?.restartCount === 1);
  t.is(agent.container(one, 'other'), undefined, 'nobody runs before init is done');
  const removals = agent.docker.calls.filter((call) => call.startsWith('remove ')).map((call) => call.slice(7));
  t.is(removals.at(-1), source, 'what asked for it goes last: an agent that dies in between goes on here');
  agent.docker.exit(agent.container(one, 'init')!.id, 0);
  await until('all run again', () =>
    ['side', 'main', 'other'].every((name) => agent.container(one, name)?.state === 'running'),
  );
  const after = agent.runtime.pod('uid-1');
  t.is(after.sandboxes[0]!.id, sandbox!.id);
  t.true(after.containers.every(({ id, restartCount }) => !before.has(id) && restartCount === 1));
  const shown = agent.published.map(({ status }) => [
    status.phase,
    status.conditions?.find(({ type }) => type === 'AllContainersRestarting')?.status,
  ]);
  t.true(shown.some(([phase, restarting]) => phase === 'Running' && restarting === 'True'));
  t.deepEqual(
    [...new Set(shown.slice(shown.findIndex(([phase]) => phase === 'Running')).map(([phase]) => phase))],
    ['Running'],
  );
  agent.docker.exit(agent.container(one, 'main')!.id, 42);
  await until('it backs off', () => agent.reasons().includes('BackOff'));
  await until('and is restarted again', () => agent.container(one, 'init')?.restartCount === 2);
});

test('a preStop hook runs once, also when the grace is shortened meanwhile', async (t) => {
  const agent = await createFakeAgent(t);
  let hooks = 0;
  agent.docker.onExec = async () => {
    hooks++;
    await new Promise((resolve) => setTimeout(resolve, 300));
    return { exitCode: 0 };
  };
  const one = pod({ containers: [{ name: 'app', lifecycle: { preStop: { exec: { command: ['x'] } } } }] });
  agent.workers.update(one);
  await until('running', () => agent.phase(one) === 'Running');
  agent.workers.update(deleted(one, 600));
  await until('the hook runs', () => hooks === 1);
  agent.workers.update(deleted(one, 20));
  await until('finished', () => agent.finished.includes('uid-1'));
  t.is(hooks, 1);
  t.true(agent.docker.calls.some((call) => /^stop [0-9a-f]{64} 20$/.test(call)));
});

test('a hook that takes longer than the grace is left; the container still gets two seconds', async (t) => {
  const agent = await createFakeAgent(t);
  agent.docker.onExec = () => new Promise(() => {});
  const one = pod({ containers: [{ name: 'app', lifecycle: { preStop: { exec: { command: ['x'] } } } }] });
  agent.workers.update(one);
  await until('running', () => agent.phase(one) === 'Running');
  agent.workers.update(deleted(one, 1));
  await until('finished', () => agent.finished.includes('uid-1'));
  t.true(agent.docker.calls.some((call) => /^stop [0-9a-f]{64} 2$/.test(call)));
  t.is(
    agent.events.find(({ reason }) => reason === 'FailedPreStopHook')!.message,
    'PreStopHook failed: preStop hook took over 1 s',
  );
});

test('sidecars whose turn does not come within the grace are ended together', async (t) => {
  const agent = await createFakeAgent(t);
  const one = pod({
    initContainers: [
      { name: 's1', restartPolicy: 'Always' },
      { name: 's2', restartPolicy: 'Always' },
    ],
    containers: [{ name: 'app', lifecycle: { preStop: { exec: { command: ['x'] } } } }],
  });
  agent.docker.onExec = () => new Promise(() => {});
  agent.workers.update(one);
  await until('running', () => agent.phase(one) === 'Running');
  agent.workers.update(deleted(one, 1));
  await until('finished', () => agent.finished.includes('uid-1'));
  const stops = agent.docker.calls.filter((call) => call.startsWith('stop '));
  t.is(stops.length, 3);
  t.true(stops.every((call) => call.endsWith(' 2')));
});

test('a pod taken from the API by force is not given its grace', async (t) => {
  const agent = await createFakeAgent(t);
  const one = pod({ terminationGracePeriodSeconds: 600 });
  agent.workers.update(one);
  await until('running', () => agent.phase(one) === 'Running');
  agent.workers.remove('uid-1');
  await until('gone', () => !agent.workers.get('uid-1'));
  t.true(agent.docker.calls.some((call) => /^stop [0-9a-f]{64} 2$/.test(call)));
  t.is(agent.docker.containers.size, 0);
});

test('the deadline also ends a pod whose image takes for ever to come', async (t) => {
  const agent = await createFakeAgent(t);
  agent.docker.pullImage = (_name, _options, signal) =>
    new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason)));
  const one = pod({ activeDeadlineSeconds: 1, containers: [{ name: 'app', image: 'slow:1' }] });
  agent.workers.update({ ...one, status: { startTime: new Date(Date.now() - 500).toISOString() } });
  await until('finished', () => agent.finished.includes('uid-1'), 5_000);
  t.like(agent.statuses.get('uid-1')!, { phase: 'Failed', reason: 'DeadlineExceeded' });
});

test('a deadline that is set later counts from the start of the pod', async (t) => {
  const agent = await createFakeAgent(t);
  const one = pod();
  agent.workers.update({ ...one, status: { startTime: new Date(Date.now() - 10_000).toISOString() } });
  await until('running', () => agent.phase(one) === 'Running');
  agent.workers.update({ ...one, spec: { ...one.spec, activeDeadlineSeconds: 5 } });
  await until('finished', () => agent.finished.includes('uid-1'), 5_000);
  t.is(agent.statuses.get('uid-1')!.reason, 'DeadlineExceeded');
});

test('R20: the first pod of a controller is rejected at once, the next ones wait, and run when there is room', async (t) => {
  let isFull = true;
  const agent = await createFakeAgent(t, {
    admit: () => (isFull ? { reason: 'OutOfcpu', message: 'Node didn’t have enough resource: cpu' } : undefined),
  });
  const ownerReferences = [{ apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'rs', uid: 'rs-1', controller: true }];
  const named = (uid: string, owned = true) => pod({}, { uid, name: uid, ...(owned && { ownerReferences }) });
  agent.workers.update(named('uid-1'));
  await until('rejected', () => agent.finished.includes('uid-1'));
  const second = named('uid-2');
  agent.workers.update(second);
  agent.workers.update(named('uid-3', false));
  await until('the pod of nobody is rejected', () => agent.finished.includes('uid-3'));
  await until('the second one waits', () => agent.phase(second) === 'Pending');
  t.false(agent.finished.includes('uid-2'));
  t.is(agent.statuses.get('uid-2')!.containerStatuses![0]!.state!.waiting!.reason, 'OutOfcpu');
  const told = agent.events.filter(({ message }) => message.includes('this one waits'));
  t.is(told.length, 1);
  agent.workers.poke('uid-2');
  isFull = false;
  agent.workers.poke('uid-2');
  await until('runs', () => agent.phase(second) === 'Running');
});

test('R21: a container whose creation was never answered is not made twice', async (t) => {
  const agent = await createFakeAgent(t);
  const create = agent.docker.createContainer.bind(agent.docker);
  let answersLost = 1;
  agent.docker.createContainer = async (name, config, signal) => {
    const made = await create(name, config, signal);
    if (name.startsWith('k8s_app_') && answersLost-- > 0)
      throw new DockerError('create container', 'unreachable', 'connection reset');
    return made;
  };
  const one = pod();
  agent.workers.update(one);
  await until(
    'told',
    () => agent.statuses.get('uid-1')?.containerStatuses?.[0]?.state?.waiting?.reason === 'CreateContainerError',
  );
  agent.workers.poke('uid-1');
  await until('running', () => agent.phase(one) === 'Running');
  const apps = [...agent.docker.containers.values()].filter(({ detail }) => detail.name.startsWith('k8s_app_'));
  t.deepEqual(
    apps.map(({ detail }) => detail.name),
    ['k8s_app_web_default_uid-1_0'],
  );
});

test('R21: a container that runs and that nobody knows of is taken over, not made again', async (t) => {
  const first = await createFakeAgent(t);
  const one = pod();
  first.workers.update(one);
  await until('running', () => first.phase(one) === 'Running');
  const { id } = first.container(one, 'app')!;
  // An agent that knows the sandbox and what was published, but has not heard of the container.
  const second = await createFakeAgent(t, { docker: first.docker, network: first.network });
  await second.runtime.refresh(first.runtime.pod('uid-1').sandboxes[0]!.id);
  second.workers.update({ ...one, status: first.statuses.get('uid-1')! });
  await until('taken over', () => second.container(one, 'app')?.id === id);
  await until('running', () => second.phase(one) === 'Running');
  t.deepEqual([...first.docker.containers.values()].map(({ detail }) => detail.name.split('_')[1]).toSorted(), [
    'POD',
    'app',
  ]);
  t.is(first.docker.containers.get(id)!.detail.state, 'running');
});

test('R18: sandboxes half made never pile up', async (t) => {
  const agent = await createFakeAgent(t);
  const create = agent.docker.createContainer.bind(agent.docker);
  let answersLost = 2;
  let most = 0;
  agent.docker.createContainer = async (name, config, signal) => {
    const made = await create(name, config, signal);
    most = Math.max(most, agent.docker.containers.size);
    if (name.startsWith('k8s_POD_') && answersLost-- > 0)
      throw new DockerError('create container', 'timeout', 'no answer within 120 s');
    return made;
  };
  const one = pod();
  agent.workers.update(one);
  await until('running', () => agent.phase(one) === 'Running');
  t.true(agent.reasons().includes('FailedCreatePodSandBox'));
  t.is(most, 2, 'one sandbox at a time, and at the end its container');
  t.is(agent.runtime.pod('uid-1').sandboxes.length, 1);
});

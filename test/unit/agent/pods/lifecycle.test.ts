/** Stories of pods over the fake Engine: what the plan's table cannot show. */
import test from 'ava';
import type { Pod } from '../../../../src/kube/types.ts';
import { systemClock } from '../../../../src/runtime/clock.ts';
import { createFakeAgent, until } from '../fake-agent.ts';
import { deleted, pod } from './story-pods.ts';

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
  // A machine that stands still for longer than twice this would have the first restart forgotten.
  const agent = await createFakeAgent(t, {}, 3000);
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
  const over = Promise.withResolvers<void>();
  agent.docker.onExec = async () => {
    hooks++;
    await over.promise;
    return { exitCode: 0 };
  };
  const one = pod({ containers: [{ name: 'app', lifecycle: { preStop: { exec: { command: ['x'] } } } }] });
  agent.workers.update(one);
  await until('running', () => agent.phase(one) === 'Running');
  agent.workers.update(deleted(one, 600));
  await until('the hook runs', () => hooks === 1);
  agent.workers.update(deleted(one, 20));
  over.resolve();
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
  await until('finished', () => agent.finished.includes('uid-1'));
  t.like(agent.statuses.get('uid-1')!, { phase: 'Failed', reason: 'DeadlineExceeded' });
});

test('a deadline that is set later counts from the start of the pod', async (t) => {
  const agent = await createFakeAgent(t);
  const one = pod();
  agent.workers.update({ ...one, status: { startTime: new Date(Date.now() - 10_000).toISOString() } });
  await until('running', () => agent.phase(one) === 'Running');
  agent.workers.update({ ...one, spec: { ...one.spec, activeDeadlineSeconds: 5 } });
  await until('finished', () => agent.finished.includes('uid-1'));
  t.is(agent.statuses.get('uid-1')!.reason, 'DeadlineExceeded');
});

test('a kill that takes much longer than its grace is told', async (t) => {
  // A hundred times as fast: the event comes ten seconds after the kill at the soonest.
  const clock = { ...systemClock, after: (ms: number, fire: () => void) => systemClock.after(ms / 100, fire) };
  const agent = await createFakeAgent(t, { clock });
  const one = pod();
  agent.workers.update(one);
  await until('running', () => agent.phase(one) === 'Running');
  const stop = agent.docker.stopContainer.bind(agent.docker);
  agent.docker.stopContainer = async (id, graceSeconds, signal) => {
    await until('told', () => agent.reasons().includes('ExceededGracePeriod'));
    return stop(id, graceSeconds, signal);
  };
  agent.workers.update(deleted(one, 2));
  await until('finished', () => agent.finished.includes('uid-1'));
  t.is(
    agent.events.find(({ reason }) => reason === 'ExceededGracePeriod')!.message,
    'Container runtime did not kill the pod within specified grace period.',
  );
});

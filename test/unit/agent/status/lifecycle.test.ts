import test from 'ava';
import { computePodStatus } from '../../../../agent/status/compute.ts';
import { forbiddenTransition } from '../../../../agent/status/transitions.ts';
import type { Container, ContainerStatus, Pod, PodStatus } from '../../../../src/kube/types.ts';
import { podOf } from '../pod.ts';
import { input, observed, run } from './cases.ts';

const noProbes = { startup: () => undefined, readiness: () => undefined };
const compute = (pod: Pod, part: Parameters<typeof input>[1]) =>
  computePodStatus(input(pod, part), noProbes, { hostIps: [] });
const container = (name: string, fields: Partial<Container> = {}): Container => ({ name, image: 'busybox', ...fields });
const condition = (status: PodStatus, type: string) => status.conditions!.find((one) => one.type === type);
const find = (list: ContainerStatus[] | undefined, name: string) => list!.find((one) => one.name === name)!;

const RULED = {
  restartPolicy: 'Never' as const,
  restartPolicyRules: [
    { action: 'RestartAllContainers' as const, exitCodes: { operator: 'In' as const, values: [42] } },
  ],
};

test('RestartAllContainers: from the end that asked for it to the next runs', (t) => {
  const pod = podOf({
    restartPolicy: 'Never',
    initContainers: [container('init'), container('side', { restartPolicy: 'Always' })],
    containers: [container('main', RULED), container('other')],
  });
  const running = compute(pod, {
    runtime: observed([run('init', { exit: 0 }), run('side'), run('main'), run('other')]),
  });
  t.like(condition(running, 'AllContainersRestarting'), { status: 'False' });

  const asked = compute(pod, {
    previous: running,
    runtime: observed([run('init', { exit: 0 }), run('side'), run('main', { exit: 42 }), run('other')]),
  });
  t.like(condition(asked, 'AllContainersRestarting'), {
    status: 'True',
    reason: 'RestartAllContainersStarted',
    message: 'container exited with restart policy rule',
  });
  t.is(asked.phase, 'Running');

  const bare = compute(pod, { previous: asked, runtime: observed([]) });
  t.is(bare.phase, 'Running');
  t.is(condition(bare, 'AllContainersRestarting')!.status, 'False');
  t.is(condition(bare, 'Initialized')!.status, 'True');
  t.is(condition(bare, 'Ready')!.status, 'False');
  const message = 'The container is removed because RestartAllContainers in place';
  t.like(find(bare.containerStatuses, 'other'), {
    restartCount: 1,
    ready: false,
    state: { waiting: { reason: 'RestartingAllContainers', message } },
    lastState: { terminated: { exitCode: 137, reason: 'RestartingAllContainers', message } },
  });
  t.is(find(bare.containerStatuses, 'main').lastState!.terminated!.exitCode, 42);
  t.is(find(bare.initContainerStatuses, 'init').lastState!.terminated!.reason, 'RestartingAllContainers');

  const again = compute(pod, { previous: bare, runtime: observed([]) });
  t.deepEqual(again.containerStatuses, bare.containerStatuses, 'looking twice counts once');

  const initializing = compute(pod, {
    previous: again,
    runtime: observed([run('init', { id: 'init1', restartCount: 1 })]),
  });
  t.is(initializing.phase, 'Running');
  const done = compute(pod, {
    previous: initializing,
    runtime: observed([
      run('init', { id: 'init1', restartCount: 1, exit: 0 }),
      ...['side', 'main', 'other'].map((name) => run(name, { id: `${name}1`, restartCount: 1 })),
    ]),
  });
  t.is(done.phase, 'Running');
  t.is(condition(done, 'Ready')!.status, 'True');
  t.like(find(done.containerStatuses, 'other'), { restartCount: 1, lastState: { terminated: { exitCode: 137 } } });
  for (const [before, after] of [
    [running, asked],
    [asked, bare],
    [bare, initializing],
    [initializing, done],
  ] as const)
    t.is(forbiddenTransition(pod, before, after), undefined);
});

test('a pod without such a rule has no such condition', (t) => {
  t.is(condition(compute(podOf(), { runtime: observed([run('app')]) }), 'AllContainersRestarting'), undefined);
});

test('an init container that was ended for the restart of all did not fail', (t) => {
  const pod = podOf({
    restartPolicy: 'Never',
    initContainers: [container('side', { ...RULED, restartPolicy: 'Always' }), container('init')],
  });
  const asked = compute(pod, { runtime: observed([run('side', { exit: 42 }), run('init')]) });
  const bare = compute(pod, { previous: asked, runtime: observed([]) });
  t.is(bare.phase, 'Pending');
  const runs = compute(pod, { previous: bare, runtime: observed([run('side', { id: 'side1', restartCount: 1 })]) });
  t.is(runs.phase, 'Pending');
});

test('ephemeral containers have statuses of their own and change nothing else', (t) => {
  const pod = podOf({ ephemeralContainers: [{ name: 'debug', image: 'busybox', targetContainerName: 'app' }] });
  const before = compute(pod, { runtime: observed([run('app')]) });
  t.like(before.ephemeralContainerStatuses![0], {
    name: 'debug',
    ready: false,
    state: { waiting: { reason: 'ContainerCreating' } },
  });
  const after = compute(pod, { previous: before, runtime: observed([run('app'), run('debug', { exit: 3 })]) });
  t.like(after.ephemeralContainerStatuses![0], {
    ready: false,
    restartCount: 0,
    state: { terminated: { exitCode: 3 } },
  });
  t.false('started' in after.ephemeralContainerStatuses![0]!);
  t.is(after.phase, 'Running');
  t.is(condition(after, 'Ready')!.status, 'True');
  t.deepEqual(
    after.containerStatuses!.map(({ name }) => name),
    ['app'],
  );
  const lost = compute(pod, {
    previous: {
      ...after,
      ephemeralContainerStatuses: [{ ...after.ephemeralContainerStatuses![0]!, state: { running: {} } }],
    },
    runtime: observed([run('app')]),
  });
  t.is(lost.ephemeralContainerStatuses![0]!.state!.terminated!.reason, 'ContainerStatusUnknown');
});

test('a stop signal of the spec shows in the status', (t) => {
  const pod = podOf({ containers: [container('app', { lifecycle: { stopSignal: 'SIGUSR1' } })] });
  t.is(compute(pod, { runtime: observed([run('app')]) }).containerStatuses![0]!.stopSignal, 'SIGUSR1');
});

test('the messages of a pod share 12 KiB, cut between characters', (t) => {
  const names = ['a', 'b', 'c', 'd'];
  const pod = podOf({ restartPolicy: 'Never', containers: names.map((name) => container(name)) });
  const status = compute(pod, {
    runtime: observed([
      run('a', { exit: 1, message: 'x'.repeat(4096) }),
      run('b', { exit: 1, message: 'é'.repeat(2048) }),
    ]),
  });
  const lengths = ['a', 'b'].map((name) =>
    Buffer.byteLength(find(status.containerStatuses, name).state!.terminated!.message!),
  );
  t.deepEqual(lengths, [3072, 3072]);
  const odd = podOf({ restartPolicy: 'Never', containers: [...names, 'e'].map((name) => container(name)) });
  const cut = compute(odd, { runtime: observed([run('b', { exit: 1, message: 'é'.repeat(2048) })]) });
  const { message } = find(cut.containerStatuses, 'b').state!.terminated!;
  // 12 KiB / 5 is 2457 bytes; half a character is none.
  t.is(message, 'é'.repeat(1228));
});

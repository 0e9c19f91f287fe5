import test from 'ava';
import type { PodStatusInput, ProbeResult } from '../../../../agent/pods/ports.ts';
import { computePodStatus } from '../../../../agent/status/compute.ts';
import type { ContainerState, Pod, PodStatus } from '../../../../src/kube/types.ts';
import { podOf } from '../pod.ts';
import { input, NOW_MS, observed, run } from './cases.ts';

const node = { hostIps: ['192.168.0.10'] };
const noProbes = { startup: () => undefined, readiness: () => undefined };
const probes = (startup?: ProbeResult, readiness?: ProbeResult) => ({
  startup: () => startup,
  readiness: () => readiness,
});
const compute = (pod: Pod, part: Partial<PodStatusInput> = {}, view = noProbes as ReturnType<typeof probes>) =>
  computePodStatus(input(pod, part), view, node);

/** `type=Status/reason: message` without what is empty. */
function conditions(status: PodStatus): string[] {
  return (status.conditions ?? []).map(
    ({ type, status: value, reason, message }) =>
      `${type}=${value}${reason ? `/${reason}` : ''}${message ? `: ${message}` : ''}`,
  );
}
function state({ waiting, running, terminated }: ContainerState = {}): string {
  if (waiting) return `waiting ${waiting.reason ?? ''}${waiting.message ? `: ${waiting.message}` : ''}`;
  if (running) return 'running';
  return terminated ? `terminated ${terminated.reason} ${terminated.exitCode}` : '';
}

test('a running pod, field by field', (t) => {
  const pod = podOf({}, { generation: 3 });
  t.deepEqual(compute(pod, { runtime: observed([run('app')]) }), {
    phase: 'Running',
    observedGeneration: 3,
    conditions: ['PodReadyToStartContainers', 'Initialized', 'Ready', 'ContainersReady', 'PodScheduled'].map(
      (type) => ({
        type,
        status: 'True',
        lastTransitionTime: '2026-01-01T00:10:00Z',
        observedGeneration: 3,
      }),
    ),
    hostIP: '192.168.0.10',
    hostIPs: [{ ip: '192.168.0.10' }],
    podIP: '10.244.0.5',
    podIPs: [{ ip: '10.244.0.5' }],
    startTime: '2026-01-01T00:10:00Z',
    containerStatuses: [
      {
        name: 'app',
        state: { running: { startedAt: '2026-01-01T00:09:10Z' } },
        lastState: {},
        ready: true,
        restartCount: 0,
        image: 'busybox',
        imageID: 'docker://sha256:1',
        containerID: 'docker://app0',
        started: true,
        resources: {},
      },
    ],
    qosClass: 'BestEffort',
  });
});

const withInit = { initContainers: [{ name: 'init', image: 'busybox' }] };
const withSidecar = { initContainers: [{ name: 'side', image: 'busybox', restartPolicy: 'Always' }] };
const probed = (probe: 'startupProbe' | 'readinessProbe') => ({
  containers: [{ name: 'app', image: 'busybox', [probe]: { tcpSocket: { port: 1 } } }],
});

const conditionCases: [string, Pod, Partial<PodStatusInput>, string[], ReturnType<typeof probes>?][] = [
  [
    'nothing yet',
    podOf(),
    { runtime: observed([], null) },
    [
      'PodReadyToStartContainers=False/PodSandboxNotReady',
      'Initialized=True',
      'Ready=False/ContainersNotReady: containers with unready status: [app]',
      'ContainersReady=False/ContainersNotReady: containers with unready status: [app]',
      'PodScheduled=True',
    ],
  ],
  [
    'a sandbox without an address',
    podOf(),
    { runtime: observed([], { ips: [] }) },
    [
      'PodReadyToStartContainers=False/PodSandboxNotReady',
      'Initialized=True',
      'Ready=False/ContainersNotReady: containers with unready status: [app]',
      'ContainersReady=False/ContainersNotReady: containers with unready status: [app]',
      'PodScheduled=True',
    ],
  ],
  [
    'init running',
    podOf(withInit),
    { runtime: observed([run('init')]) },
    [
      'PodReadyToStartContainers=True',
      'Initialized=False/ContainersNotInitialized: containers with incomplete status: [init]',
      'Ready=False/ContainersNotReady: containers with unready status: [app]',
      'ContainersReady=False/ContainersNotReady: containers with unready status: [app]',
      'PodScheduled=True',
    ],
  ],
  [
    'two containers unready',
    podOf({ containers: [{ name: 'b' }, { name: 'a' }] }),
    { runtime: observed([]) },
    [
      'PodReadyToStartContainers=True',
      'Initialized=True',
      'Ready=False/ContainersNotReady: containers with unready status: [b a]',
      'ContainersReady=False/ContainersNotReady: containers with unready status: [b a]',
      'PodScheduled=True',
    ],
  ],
  [
    'unready sidecar counts',
    podOf({ initContainers: [{ ...withSidecar.initContainers[0]!, readinessProbe: {} }] as never }),
    { runtime: observed([run('app'), run('side')]) },
    [
      'PodReadyToStartContainers=True',
      'Initialized=True',
      'Ready=False/ContainersNotReady: containers with unready status: [side]',
      'ContainersReady=False/ContainersNotReady: containers with unready status: [side]',
      'PodScheduled=True',
    ],
  ],
  [
    'succeeded',
    podOf({ restartPolicy: 'Never', ...withInit }),
    { runtime: observed([run('app', { exit: 0 }), run('init', { exit: 0 })], { state: 'exited' }) },
    [
      'PodReadyToStartContainers=False/PodSandboxNotReady',
      'Initialized=True/PodCompleted',
      'Ready=False/PodCompleted',
      'ContainersReady=False/PodCompleted',
      'PodScheduled=True',
    ],
  ],
  [
    'failed',
    podOf({ restartPolicy: 'Never' }),
    { runtime: observed([run('app', { exit: 2 })]) },
    [
      'PodReadyToStartContainers=True',
      'Initialized=True',
      'Ready=False/PodFailed',
      'ContainersReady=False/PodFailed',
      'PodScheduled=True',
    ],
  ],
  [
    'readiness gate missing, another false; foreign conditions first',
    {
      ...podOf({ readinessGates: [{ conditionType: 'a/b' }, { conditionType: 'c' }] }),
      status: {
        conditions: [
          { type: 'c', status: 'False' },
          { type: 'PodScheduled', status: 'True' },
        ],
      },
    },
    { runtime: observed([run('app')]) },
    [
      'c=False',
      'PodReadyToStartContainers=True',
      'Initialized=True',
      'Ready=False/ReadinessGatesNotReady: corresponding condition of pod readiness gate "a/b" does not exist., the status of pod readiness gate "c" is not "True", but False',
      'ContainersReady=True',
      'PodScheduled=True',
    ],
  ],
];
for (const [title, pod, part, expected, view] of conditionCases)
  test(`conditions: ${title}`, (t) => t.deepEqual(conditions(compute(pod, part, view)), expected));

test('the time of a condition changes only with its status', (t) => {
  const pod = podOf();
  const first = compute(pod, { runtime: observed([]) });
  const later = compute(pod, { runtime: observed([run('app')]), previous: first, nowMs: NOW_MS + 60_000 });
  const times = Object.fromEntries(later.conditions!.map(({ type, lastTransitionTime }) => [type, lastTransitionTime]));
  t.is(times.Initialized, '2026-01-01T00:10:00Z');
  t.is(times.Ready, '2026-01-01T00:11:00Z');
  t.is(later.startTime, '2026-01-01T00:10:00Z');
});

const readinessCases: [string, Pod, ReturnType<typeof probes>, { started: boolean; ready: boolean }][] = [
  ['no probes', podOf(), noProbes, { started: true, ready: true }],
  ['startup without result', podOf(probed('startupProbe')), probes(), { started: false, ready: false }],
  ['startup failure', podOf(probed('startupProbe')), probes('failure'), { started: false, ready: false }],
  ['startup success', podOf(probed('startupProbe')), probes('success'), { started: true, ready: true }],
  ['readiness without result', podOf(probed('readinessProbe')), probes(), { started: true, ready: false }],
  ['readiness failure', podOf(probed('readinessProbe')), probes(undefined, 'failure'), { started: true, ready: false }],
  ['readiness success', podOf(probed('readinessProbe')), probes(undefined, 'success'), { started: true, ready: true }],
];
for (const [title, pod, view, expected] of readinessCases)
  test(`readiness: ${title}`, (t) => {
    const [app] = compute(pod, { runtime: observed([run('app')]) }, view).containerStatuses!;
    t.deepEqual({ started: app!.started!, ready: app!.ready }, expected);
  });

const waiting = (reason: string, message = 'm') => new Map([['app', { reason, message }]]);
const never = { restartPolicy: 'Never' as const };
const old = (app: Partial<NonNullable<PodStatus['containerStatuses']>[0]>): PodStatus => ({
  phase: 'Running',
  containerStatuses: [{ name: 'app', ready: false, restartCount: 0, image: '', imageID: '', ...app }],
});

const stateCases: [string, Pod, Partial<PodStatusInput>, string, string, number?][] = [
  ['not made yet', podOf(), {}, 'waiting ContainerCreating', ''],
  ['behind init containers', podOf(withInit), {}, 'waiting PodInitializing', ''],
  [
    'made, not started',
    podOf(),
    { runtime: observed([run('app', { state: 'created' })]) },
    'waiting ContainerCreating',
    '',
  ],
  [
    'image missing',
    podOf(),
    { waiting: waiting('ErrImagePull', 'no such image') },
    'waiting ErrImagePull: no such image',
    '',
  ],
  ['running', podOf(), { runtime: observed([run('app')]) }, 'running', ''],
  [
    'running, an old reason is void',
    podOf(),
    { runtime: observed([run('app')]), waiting: waiting('CrashLoopBackOff') },
    'running',
    '',
  ],
  [
    'crash loop',
    podOf(),
    {
      runtime: observed([run('app', { exit: 1, restartCount: 2 })]),
      waiting: waiting('CrashLoopBackOff', 'back-off 10s'),
    },
    'waiting CrashLoopBackOff: back-off 10s',
    'terminated Error 1',
    2,
  ],
  ['ended, restart is due', podOf(), { runtime: observed([run('app', { exit: 1 })]) }, 'terminated Error 1', ''],
  [
    'ended for good, a reason does not matter',
    podOf(never),
    { runtime: observed([run('app', { exit: 1 })]), waiting: waiting('RunContainerError') },
    'terminated Error 1',
    '',
  ],
  [
    'being deleted: never waiting',
    podOf({}, { deletionTimestamp: '2026-01-01T00:00:00Z' }),
    { runtime: observed([run('app', { exit: 143 })]), waiting: waiting('CrashLoopBackOff') },
    'terminated Error 143',
    '',
  ],
  [
    'second run',
    podOf(),
    { runtime: observed([run('app', { id: 'app1', restartCount: 1 }), run('app', { exit: 3 })]) },
    'running',
    'terminated Error 3',
    1,
  ],
  [
    'out of memory',
    podOf(never),
    { runtime: observed([run('app', { exit: 137, oomKilled: true })]) },
    'terminated OOMKilled 137',
    '',
  ],
  ['completed', podOf(never), { runtime: observed([run('app', { exit: 0 })]) }, 'terminated Completed 0', ''],
  [
    'could not run',
    podOf(),
    {
      runtime: observed([run('app', { exit: 127, reason: 'ContainerCannotRun' })]),
      waiting: waiting('RunContainerError', 'no such file'),
    },
    'waiting RunContainerError: no such file',
    'terminated ContainerCannotRun 127',
  ],
  [
    'record lost while running',
    podOf(),
    { previous: old({ state: { running: {} }, restartCount: 4 }) },
    'waiting ContainerCreating',
    'terminated ContainerStatusUnknown 137',
    5,
  ],
  [
    'record of an ended one lost',
    podOf(never),
    { previous: old({ state: { terminated: { exitCode: 0, reason: 'Completed' } } }) },
    'terminated Completed 0',
    '',
  ],
  [
    'dead record removed after the restart',
    podOf(),
    {
      runtime: observed([run('app', { id: 'app1', restartCount: 1 })]),
      previous: old({ containerID: 'docker://app0', state: { terminated: { exitCode: 9, reason: 'Error' } } }),
    },
    'running',
    'terminated Error 9',
    1,
  ],
  [
    'last state stays while the run goes on',
    podOf(),
    {
      runtime: observed([run('app', { restartCount: 1 })]),
      previous: old({
        containerID: 'docker://app0',
        state: { running: {} },
        lastState: { terminated: { exitCode: 9, reason: 'Error' } },
      }),
    },
    'running',
    'terminated Error 9',
    1,
  ],
  [
    'unknown, was running',
    podOf(),
    { runtime: observed([run('app', { state: 'unknown' })]), previous: old({ state: { running: {} } }) },
    'terminated ContainerStatusUnknown 137',
    '',
  ],
  ['unknown', podOf(), { runtime: observed([run('app', { state: 'unknown' })]) }, 'waiting ContainerCreating', ''],
  ['over without a trace', podOf(), { terminal: true }, 'terminated ContainerStatusUnknown 137', ''],
  ['over before init was done', podOf(withInit), { terminal: true }, 'waiting PodInitializing', ''],
];
for (const [title, pod, part, now, last, restarts] of stateCases)
  test(`container state: ${title}`, (t) => {
    const [app] = compute(pod, part).containerStatuses!;
    t.is(state(app!.state), now);
    t.is(state(app!.lastState), last);
    t.is(app!.restartCount, restarts ?? 0);
  });

test('init containers in the order of the spec, regular ones by name', (t) => {
  const pod = podOf({
    containers: [{ name: 'z' }, { name: 'a' }],
    initContainers: [{ name: 'y' }, { name: 'b' }],
  } as never);
  const status = compute(pod, { runtime: observed([run('y', { exit: 0 }), run('b')]) });
  t.deepEqual(
    status.containerStatuses!.map(({ name }) => name),
    ['a', 'z'],
  );
  t.deepEqual(
    status.initContainerStatuses!.map(({ name, ready, started, state: s }) => [name, ready, started, state(s)]),
    [
      ['y', true, false, 'terminated Completed 0'],
      ['b', false, true, 'running'],
    ],
  );
});

test('a pod that is over is Failed even when nothing of it ever ran; a static one is not', (t) => {
  t.is(compute(podOf(withInit), { terminal: true }).phase, 'Failed');
  t.is(compute(podOf(), { terminal: true }).phase, 'Failed');
  t.is(
    compute(podOf({}, { annotations: { 'kubernetes.io/config.source': 'file' } }), { terminal: true }).phase,
    'Running',
  );
});

test('a verdict waits until nothing runs', (t) => {
  const override = {
    phase: 'Failed',
    reason: 'DeadlineExceeded',
    message: 'Pod was active on the node longer than the specified deadline',
  } as const;
  const pod = podOf();
  const running = compute(pod, { runtime: observed([run('app')]), override, terminal: true });
  t.is(running.phase, 'Running');
  t.is(running.reason, undefined);
  t.true(conditions(running).includes('Ready=False/PodFailed'));
  const ended = compute(pod, {
    runtime: observed([run('app', { exit: 143 })]),
    override,
    terminal: true,
    previous: running,
  });
  t.is(ended.phase, 'Failed');
  t.is(ended.reason, 'DeadlineExceeded');
  t.is(ended.message, override.message);
});

test('phase, reason and message of a terminal status are kept', (t) => {
  const previous: PodStatus = { phase: 'Failed', reason: 'Evicted', message: 'low on memory' };
  const status = compute(podOf(), { previous, runtime: observed([run('app')]) });
  t.like(status, previous);
});

test('a rejected pod has no conditions and no container statuses', (t) => {
  const override = { phase: 'Failed', reason: 'OutOfcpu', message: "Node didn't have enough resource: cpu" } as const;
  t.deepEqual(compute(podOf(), { runtime: observed([], null), override, terminal: true }), {
    phase: 'Failed',
    reason: 'OutOfcpu',
    message: "Pod was rejected: Node didn't have enough resource: cpu",
    qosClass: 'BestEffort',
    startTime: '2026-01-01T00:10:00Z',
  });
});

import test from 'ava';
import type { ContainerRuntimeStatus } from '../../../../agent/pods/ports.ts';
import { createProbeManager } from '../../../../agent/probes/manager.ts';
import type { ProbeOutcome } from '../../../../agent/probes/outcome.ts';
import type { Pod, PodStatus, Probe } from '../../../../src/kube/types.ts';
import { createFakeClock } from '../../../fakes/clock.ts';
import { podOf } from '../pod.ts';
import { observed, run } from '../status/cases.ts';

/** A manager whose probes answer as told, on a clock that stands still. */
function scene(
  probes: { startupProbe?: Probe; livenessProbe?: Probe; readinessProbe?: Probe },
  metadata = {},
  more: { takesMs?: number; shown?: () => PodStatus | undefined } = {},
) {
  const clock = createFakeClock();
  const answers = { startup: 'failure', liveness: 'success', readiness: 'success' } as Record<
    string,
    ProbeOutcome['result'] | 'error'
  >;
  const calls: string[] = [];
  const events: string[] = [];
  const changes: string[] = [];
  const reports: string[] = [];
  const pod: Pod = podOf({ containers: [{ name: 'app', image: 'x', ...probes }] }, metadata);
  const typeOf = (probe: Probe) =>
    probe === probes.startupProbe ? 'startup' : probe === probes.livenessProbe ? 'liveness' : 'readiness';
  const manager = createProbeManager({
    clock,
    hostIp: () => '192.168.0.1',
    random: () => 0.5,
    shown: () => more.shown?.(),
    onProbe: ({ type, result }) => reports.push(`${type} ${result}`),
    onEnd: ({ type }) => reports.push(`${type} ends`),
    events: { event: (_, type, reason, message, path) => events.push(`${type} ${reason} ${message} ${path}`) },
    prober: async ({ probe }) => {
      const type = typeOf(probe);
      calls.push(`${clock.monotonicMs() / 1000}s ${type}`);
      const result = answers[type]!;
      if (more.takesMs) await clock.sleep(more.takesMs);
      if (result === 'error') throw new Error('runtime is down');
      return { result, output: 'out' };
    },
  });
  manager.onChange((uid) =>
    changes.push(`${uid} ${manager.startup('app0')} ${manager.liveness('app0')} ${manager.readiness('app0')}`),
  );
  const show = (part: Partial<ContainerRuntimeStatus> & { exit?: number } = {}) => {
    const startedAtMs = clock.nowMs();
    manager.observe(pod, observed([run('app', { createdAtMs: startedAtMs, startedAtMs, ...part })]));
  };
  return { clock, answers, calls, events, changes, reports, pod, manager, show };
}
const exec = { exec: { command: ['true'] } };

test('readiness: failure before the first result, at once when it passes, thresholds after', async (t) => {
  const { clock, answers, calls, changes, events, pod, manager, show } = scene({
    readinessProbe: { ...exec, periodSeconds: 5, failureThreshold: 2 },
  });
  manager.addPod(pod);
  await clock.advance(1000);
  t.deepEqual(calls, []);
  show();
  t.is(manager.readiness('app0'), 'failure');
  await clock.advance(0);
  t.is(manager.readiness('app0'), 'success');
  t.deepEqual(changes, ['uid-1 undefined undefined success']);
  answers.readiness = 'failure';
  await clock.advance(5000);
  t.is(manager.readiness('app0'), 'success', 'one failure is below the threshold');
  await clock.advance(5000);
  t.is(manager.readiness('app0'), 'failure');
  t.deepEqual(events, Array(2).fill('Warning Unhealthy Readiness probe failed: out spec.containers{app}'));
  t.deepEqual(calls, ['1s readiness', '6s readiness', '11s readiness']);
});

test('a container that has just started is asked again soon, in silence', async (t) => {
  const { clock, answers, calls, events, pod, manager, show } = scene({
    readinessProbe: { ...exec, periodSeconds: 10 },
  });
  answers.readiness = 'failure';
  manager.addPod(pod);
  show();
  await clock.advance(100);
  answers.readiness = 'success';
  await clock.advance(60);
  t.is(manager.readiness('app0'), 'success');
  t.deepEqual(calls, ['0s readiness', '0.05s readiness', '0.15s readiness']);
  t.deepEqual(events, []);
  await clock.advance(10_000);
  t.is(calls.length, 4);
});

test('liveness: success until the threshold, then held until there is a new container', async (t) => {
  const { clock, answers, calls, changes, pod, manager, show } = scene({
    livenessProbe: { ...exec, periodSeconds: 2, failureThreshold: 2, initialDelaySeconds: 3 },
  });
  answers.liveness = 'failure';
  manager.addPod(pod);
  show();
  t.is(manager.liveness('app0'), 'success');
  await clock.advance(20_000);
  t.deepEqual(calls, ['3s liveness', '5s liveness']);
  t.is(manager.liveness('app0'), 'failure');
  t.is(changes.length, 1);
  show({ id: 'app1' });
  t.is(manager.liveness('app1'), 'success');
  t.is(manager.liveness('app0'), undefined);
});

test('startup comes first; its success starts the others at once', async (t) => {
  const { clock, answers, calls, changes, pod, manager, show } = scene({
    startupProbe: { ...exec, periodSeconds: 1, failureThreshold: 30 },
    livenessProbe: { exec: { command: ['live'] } },
    readinessProbe: { exec: { command: ['ready'] } },
  });
  manager.addPod(pod);
  show();
  await clock.advance(4000);
  t.true(calls.every((call) => call.endsWith('startup')));
  t.is(manager.startup('app0'), undefined);
  answers.startup = 'success';
  await clock.advance(1000);
  t.is(manager.startup('app0'), 'success');
  t.is(manager.readiness('app0'), 'success');
  t.deepEqual(
    calls
      .slice(-2)
      .map((call) => call.split(' ')[1])
      .sort(),
    ['liveness', 'readiness'],
  );
  t.is(changes.length, 2);
  const before = calls.length;
  await clock.advance(5000);
  t.false(
    calls.slice(before).some((call) => call.endsWith('startup')),
    'held',
  );
});

test('startup: failure is published once, and held', async (t) => {
  const { clock, calls, pod, manager, show } = scene({
    startupProbe: { ...exec, periodSeconds: 1, failureThreshold: 2 },
  });
  manager.addPod(pod);
  show();
  await clock.advance(10_000);
  t.is(manager.startup('app0'), 'failure');
  const before = calls.length;
  await clock.advance(10_000);
  t.is(calls.length, before);
});

test('what cannot be told is dropped after three tries', async (t) => {
  const { clock, answers, calls, events, pod, manager, show } = scene({
    livenessProbe: { ...exec, failureThreshold: 1 },
  });
  answers.liveness = 'error';
  manager.addPod(pod);
  show();
  await clock.advance(0);
  t.is(calls.length, 3);
  t.is(manager.liveness('app0'), 'success');
  t.deepEqual(events, [
    'Warning Unhealthy Liveness probe errored and resulted in unknown state: runtime is down spec.containers{app}',
  ]);
});

test('warnings count as success', async (t) => {
  const { clock, answers, events, pod, manager, show } = scene({ readinessProbe: exec });
  answers.readiness = 'warning';
  manager.addPod(pod);
  show();
  await clock.advance(0);
  t.is(manager.readiness('app0'), 'success');
  t.deepEqual(events, ['Warning ProbeWarning Readiness probe warning: out spec.containers{app}']);
});

test('a container that ended is not ready; one that never runs again is left', async (t) => {
  for (const restartPolicy of ['Always', 'Never'] as const) {
    const { clock, pod, manager, show } = scene({ readinessProbe: exec });
    pod.spec.restartPolicy = restartPolicy;
    manager.addPod(pod);
    show();
    await clock.advance(0);
    show({ exit: 0 });
    await clock.advance(0);
    t.is(manager.readiness('app0'), 'failure');
    t.is(clock.pending(), restartPolicy === 'Always' ? 1 : 0);
    manager.addPod(pod);
    t.is(clock.pending(), restartPolicy === 'Always' ? 1 : 0, 'not made again');
    manager.removePod('uid-1');
    t.is(clock.pending(), 0);
    t.is(manager.readiness('app0'), undefined);
  }
});

test('termination: liveness ends as success, readiness goes on', async (t) => {
  const { clock, answers, pod, manager, show } = scene({
    livenessProbe: { ...exec, periodSeconds: 1 },
    readinessProbe: { exec: { command: ['r'] }, periodSeconds: 1, failureThreshold: 1 },
  });
  manager.addPod(pod);
  show();
  await clock.advance(0);
  manager.stopLivenessAndStartup('uid-1');
  answers.liveness = 'failure';
  answers.readiness = 'failure';
  await clock.advance(5000);
  t.is(manager.liveness('app0'), 'success');
  t.is(manager.readiness('app0'), 'failure');
  manager.retain(new Set());
  t.is(clock.pending(), 0);
});

test('a deleted pod is no longer killed by its liveness probe', async (t) => {
  const { clock, answers, pod, manager, show } = scene(
    { livenessProbe: { ...exec, failureThreshold: 1 } },
    { deletionTimestamp: 'now' },
  );
  answers.liveness = 'failure';
  manager.addPod(pod);
  show();
  await clock.advance(60_000);
  t.is(manager.liveness('app0'), 'success');
  t.is(clock.pending(), 0);
});

test('after a restart of the agent a ready container stays ready, and the first look is spread', async (t) => {
  const { clock, calls, pod, manager } = scene({ startupProbe: exec, readinessProbe: { exec: { command: ['r'] } } });
  const old = clock.nowMs() - 60_000;
  pod.status = {
    phase: 'Running',
    containerStatuses: [
      {
        name: 'app',
        ready: true,
        started: true,
        containerID: 'docker://app0',
        restartCount: 0,
        image: '',
        imageID: '',
      },
    ],
  };
  manager.addPod(pod);
  manager.observe(pod, observed([run('app', { createdAtMs: old, startedAtMs: old })]));
  t.is(manager.readiness('app0'), 'success');
  t.is(manager.startup('app0'), 'success');
  await clock.advance(4999);
  t.deepEqual(calls, []);
  await clock.advance(1);
  t.deepEqual(calls, ['5s readiness']);
});

test('a result about a container that is gone by now is dropped', async (t) => {
  const { clock, answers, pod, manager, show } = scene({ livenessProbe: { ...exec, failureThreshold: 1 } });
  answers.liveness = 'failure';
  manager.addPod(pod);
  show();
  const advancing = clock.advance(0);
  show({ id: 'app1' });
  await advancing;
  t.is(manager.liveness('app0'), undefined);
});

test('run: an abort stops every timer', async (t) => {
  const { clock, pod, manager, show } = scene({ livenessProbe: exec, readinessProbe: { exec: { command: ['r'] } } });
  manager.addPod(pod);
  show();
  await clock.advance(0);
  const stop = new AbortController();
  const done = manager.run(stop.signal);
  stop.abort();
  await done;
  t.is(clock.pending(), 0);
});

test('the period keeps its beat, however long a probe takes; one that takes longer is followed at once', async (t) => {
  for (const [takesMs, expected] of [
    [300, ['0s', '1s', '2s', '3s']],
    [1500, ['0s', '1.5s', '3s']],
  ] as const) {
    const { clock, calls, pod, manager, show } = scene(
      { livenessProbe: { ...exec, periodSeconds: 1, timeoutSeconds: 2 } },
      {},
      { takesMs },
    );
    manager.addPod(pod);
    show();
    await clock.advance(3900);
    t.deepEqual(
      calls.map((call) => call.split(' ')[0]),
      [...expected],
    );
  }
});

test('series: silent tries are no failures; they go with their probe', async (t) => {
  const { clock, answers, reports, pod, manager, show } = scene({
    readinessProbe: { ...exec, periodSeconds: 10 },
    livenessProbe: { exec: { command: ['live'] } },
  });
  answers.readiness = 'failure';
  manager.addPod(pod);
  show();
  await clock.advance(1000);
  t.deepEqual(reports, ['liveness successful']);
  await clock.advance(1000);
  t.deepEqual(reports, ['liveness successful', 'readiness failed']);
  manager.stopLivenessAndStartup('uid-1');
  manager.removePod('uid-1');
  t.deepEqual(reports.slice(2), ['liveness ends', 'readiness ends']);
});

test("after a restart of the agent a static pod's readiness is its mirror's, as soon as that is known", async (t) => {
  let shown: PodStatus | undefined;
  const { clock, calls, changes, pod, manager } = scene(
    { readinessProbe: { ...exec, periodSeconds: 10, failureThreshold: 1 } },
    {},
    { shown: () => shown },
  );
  const old = clock.nowMs() - 60_000;
  const look = () => manager.observe(pod, observed([run('app', { createdAtMs: old, startedAtMs: old })]));
  manager.addPod(pod);
  look();
  t.is(manager.readiness('app0'), 'failure');
  const app = { name: 'app', ready: true, containerID: 'docker://app0', restartCount: 0, image: '', imageID: '' };
  shown = { containerStatuses: [app] };
  look();
  t.is(manager.readiness('app0'), 'success');
  t.deepEqual(changes, [], 'nobody is told: it was so all the time');
  await clock.advance(5000);
  t.deepEqual(calls, ['5s readiness']);
  shown = { containerStatuses: [{ ...app, ready: false }] };
  look();
  t.is(manager.readiness('app0'), 'success', 'what the probe has found out counts more');
});

test('a container whose postStart hook runs is not looked at before it has ended', async (t) => {
  const { clock, calls, pod, manager, show } = scene({ readinessProbe: { ...exec, periodSeconds: 10 } });
  manager.addPod(pod);
  show({ isStarting: true });
  await clock.advance(3000);
  t.deepEqual(calls, []);
  show();
  await clock.advance(0);
  t.deepEqual(calls, ['3s readiness']);
});

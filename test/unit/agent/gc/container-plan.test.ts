import test from 'ava';
import {
  keptEndedRuns,
  type PodRemains,
  selectDeadContainers,
  selectDeadSandboxes,
} from '../../../../agent/gc/container-plan.ts';
import type { ContainerRuntimeStatus, SandboxStatus } from '../../../../agent/pods/ports.ts';

const DEFAULTS = { maximumPerContainer: 1, maximumTotal: -1, minimumAgeMs: 0 };

type State = ContainerRuntimeStatus['state'];

/** Runs of one container, newest first; ids are `<pod>-<name>-<restart count>`. */
const runs = (pod: string, name: string, states: State[], sandboxId = `${pod}-s0`): ContainerRuntimeStatus[] =>
  states.map((state, index) => {
    const restartCount = states.length - 1 - index;
    const createdAtMs = restartCount * 1000;
    const finished = state === 'exited' && { finishedAtMs: createdAtMs + 500, exitCode: 1 };
    return {
      ...{ id: `${pod}-${name}-${restartCount}`, name, state, createdAtMs, restartCount, sandboxId, ...finished },
      ...{ oomKilled: false, image: 'i:1', imageId: 'docker://sha256:1', hash: 'h' },
    };
  });

const sandbox = (pod: string, attempt: number, state: State): SandboxStatus => ({
  id: `${pod}-s${attempt}`,
  attempt,
  state,
  createdAtMs: 0,
  hostNetwork: false,
  ips: [],
});

const pod = (
  uid: string,
  containers: ContainerRuntimeStatus[],
  { isOver = false, sandboxes = [] as SandboxStatus[], endedSinceMs = (_: string): number => 0 } = {},
): PodRemains => ({
  runtime: { uid, name: uid, namespace: 'default', ips: [], sandboxes, containers },
  isOver,
  endedSinceMs,
});

const ids = (pods: PodRemains[], policy = DEFAULTS, nowMs = 1_000_000, all = false) =>
  selectDeadContainers(pods, policy, nowMs, all).map(({ container }) => container.id);

const ENDED: State[] = ['exited', 'exited', 'exited'];

test('one ended run of each container stays, the newest; the oldest goes first', (t) => {
  const containers = [...runs('p', 'a', ['running', ...ENDED]), ...runs('p', 'b', ['exited', 'exited'])];
  t.deepEqual(ids([pod('p', containers)]), ['p-a-0', 'p-b-0', 'p-a-1']);
});

test('what runs, was created or is not known is never touched', (t) => {
  t.deepEqual(ids([pod('p', [...runs('p', 'a', ['running', 'running', 'created', 'unknown'])])]), []);
});

test('more or none may stay; the newest run of a pod that is not over is no garbage', (t) => {
  const restarting = pod('p', runs('p', 'a', ['running', ...ENDED]));
  const between = pod('q', runs('q', 'a', ENDED));
  const over = pod('r', runs('r', 'a', ENDED), { isOver: true });
  const pods = [restarting, between, over];
  const left = (maximumPerContainer: number) => {
    const gone = ids(pods, { ...DEFAULTS, maximumPerContainer });
    return pods
      .flatMap(({ runtime }) => runtime.containers)
      .filter(({ state, id }) => state === 'exited' && !gone.includes(id))
      .map(({ id }) => id);
  };
  t.deepEqual(left(2), ['p-a-2', 'p-a-1', 'q-a-2', 'q-a-1', 'r-a-2', 'r-a-1']);
  t.deepEqual(left(0), ['q-a-2'], 'whether q starts again is decided by it');
  t.is(left(-1).length, 9);
});

test('the limit of the whole node takes the oldest, and spares what pods are decided by', (t) => {
  const pods = [
    pod('over', runs('over', 'a', ['exited', 'exited']), { isOver: true }),
    pod('live', runs('live', 'a', ['exited', 'exited'])),
  ];
  const policy = { ...DEFAULTS, maximumPerContainer: -1 };
  t.deepEqual(ids(pods, { ...policy, maximumTotal: 4 }), []);
  t.deepEqual(ids(pods, { ...policy, maximumTotal: 3 }), ['over-a-0']);
  t.deepEqual(ids(pods, { ...policy, maximumTotal: 2 }), ['over-a-0', 'live-a-0']);
  t.deepEqual(ids(pods, { ...policy, maximumTotal: 0 }), ['over-a-0', 'live-a-0', 'over-a-1']);
});

test('one that has ended just now stays for the minimum age', (t) => {
  const pods = [pod('p', runs('p', 'a', ENDED), { endedSinceMs: (id) => (id === 'p-a-0' ? 0 : 5_000) })];
  const policy = { ...DEFAULTS, minimumAgeMs: 10_000 };
  t.deepEqual(ids(pods, policy, 9_999), []);
  t.deepEqual(ids(pods, policy, 10_000), ['p-a-0']);
  t.deepEqual(ids(pods, policy, 15_000), ['p-a-0', 'p-a-1']);
});

test('for want of room all of pods that are over go', (t) => {
  const pods = [
    pod('over', runs('over', 'a', ['exited']), { isOver: true }),
    pod('live', runs('live', 'a', ['exited', 'exited'])),
  ];
  t.deepEqual(ids(pods), ['live-a-0']);
  t.deepEqual(ids(pods, DEFAULTS, 1_000_000, true), ['over-a-0', 'live-a-0']);
});

test('ended sandboxes go when they hold nothing and are not the newest of a pod that is not over', (t) => {
  const sandboxes = [sandbox('p', 2, 'exited'), sandbox('p', 1, 'exited'), sandbox('p', 0, 'exited')];
  const dead = (one: PodRemains) => selectDeadSandboxes([one]).map(({ sandbox: { id } }) => id);
  const held = runs('p', 'a', ['exited'], 'p-s1');
  t.deepEqual(dead(pod('p', held, { sandboxes })), ['p-s0']);
  t.deepEqual(dead(pod('p', [], { sandboxes })), ['p-s1', 'p-s0']);
  t.deepEqual(dead(pod('p', [], { sandboxes, isOver: true })), ['p-s2', 'p-s1', 'p-s0']);
  const alive = [sandbox('p', 1, 'running'), sandbox('p', 0, 'running')];
  t.deepEqual(dead(pod('p', [], { sandboxes: alive, isOver: true })), []);
});

test('a pass leaves as many ended runs behind as may stay, all where an age is to be waited for', (t) => {
  t.is(keptEndedRuns(DEFAULTS), 1);
  t.is(keptEndedRuns({ ...DEFAULTS, maximumPerContainer: 3 }), 3);
  t.is(keptEndedRuns({ ...DEFAULTS, maximumPerContainer: 0 }), 1);
  t.is(keptEndedRuns({ ...DEFAULTS, maximumPerContainer: -1 }), Number.POSITIVE_INFINITY);
  t.is(keptEndedRuns({ ...DEFAULTS, minimumAgeMs: 1 }), Number.POSITIVE_INFINITY);
});

import test from 'ava';
import { containerHash } from '../../../../../agent/containers/hash.ts';
import { computePodPlan } from '../../../../../agent/pods/plan.ts';
import type { ContainerRuntimeStatus } from '../../../../../agent/pods/ports.ts';
import type { Container } from '../../../../../src/kube/types.ts';
import { podOf, resources } from '../../pod.ts';

const restarts = { resizePolicy: [{ resourceName: 'cpu', restartPolicy: 'RestartContainer' }] };
const container = (name: string, more: Partial<Container> = {}): Container => ({
  name,
  image: 'busybox',
  resources: resources('2'),
  ...more,
});
const record = (name: string, state: ContainerRuntimeStatus['state']): ContainerRuntimeStatus => ({
  id: `${name}0`,
  name,
  state,
  createdAtMs: 0,
  ...(state === 'exited' && { exitCode: 1, finishedAtMs: 0 }),
  oomKilled: false,
  image: 'busybox',
  imageId: '',
  restartCount: 0,
  hash: containerHash({ name, image: 'busybox' }),
  sandboxId: 's0',
});

/** The plan for containers that were all given one CPU and are to have two. */
function plan(
  containers: Container[],
  states: Record<string, ContainerRuntimeStatus['state']> = {},
  facts: { init?: Container[]; unwell?: string[] } = {},
) {
  const names = [...(facts.init ?? []), ...containers].map(({ name }) => name);
  return computePodPlan({
    pod: podOf({ containers, ...(facts.init && { initContainers: facts.init }) }),
    runtime: {
      uid: 'uid-1',
      name: 'web',
      namespace: 'default',
      ips: [],
      sandboxes: [{ id: 's0', attempt: 0, state: 'running', createdAtMs: 0, hostNetwork: false, ips: ['10.0.0.1'] }],
      containers: names.map((name) => record(name, states[name] ?? 'running')),
    },
    nowMs: 1_000,
    liveness: (id) => (facts.unwell?.includes(id) ? 'failure' : 'success'),
    startup: () => 'success',
    actuated: () => resources('1'),
    crashDelay: () => undefined,
  });
}

test('running containers are updated, those whose policy says so restarted, others start with what they have', (t) => {
  const { kill, start, update } = plan([container('a'), container('b', restarts), container('c')], { c: 'exited' });
  t.deepEqual(update, [{ id: 'a0', name: 'a' }]);
  t.deepEqual(kill, [{ id: 'b0', name: 'b', message: 'Container b resize requires restart' }]);
  t.deepEqual(
    start.map(({ name, attempt }) => [name, attempt]),
    [
      ['b', 1],
      ['c', 1],
    ],
  );
});

test('who fails a probe is restarted for that', (t) => {
  const { kill, update } = plan([container('a'), container('b', restarts)], {}, { unwell: ['a0', 'b0'] });
  t.deepEqual(
    kill.map(({ message }) => message),
    ['a', 'b'].map((name) => `Container ${name} failed liveness probe, will be restarted`),
  );
  t.is(update, undefined);
});

test('sidecars as well; plain init containers never', (t) => {
  const init = [
    container('plain', restarts),
    container('side', { restartPolicy: 'Always' }),
    container('strict', { restartPolicy: 'Always', ...restarts }),
  ];
  const { kill, start, update } = plan([container('a')], {}, { init });
  t.deepEqual(
    update!.map(({ name }) => name),
    ['side', 'a'],
  );
  t.deepEqual(
    kill.map(({ message }) => message),
    ['Container strict resize requires restart'],
  );
  t.deepEqual(
    start.map(({ name }) => name),
    ['strict'],
  );
});

test('without a record of what it was given, a container is as it should be', (t) => {
  const input = [container('a')];
  const found = computePodPlan({
    pod: podOf({ containers: input }),
    runtime: {
      uid: 'uid-1',
      name: 'web',
      namespace: 'default',
      ips: [],
      sandboxes: [{ id: 's0', attempt: 0, state: 'running', createdAtMs: 0, hostNetwork: false, ips: ['10.0.0.1'] }],
      containers: [record('a', 'running')],
    },
    nowMs: 0,
    liveness: () => undefined,
    startup: () => undefined,
    crashDelay: () => undefined,
  });
  t.is(found.update, undefined);
  t.deepEqual(found.kill, []);
});

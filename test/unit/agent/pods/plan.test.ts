import test from 'ava';
import { containerHash } from '../../../../agent/containers/hash.ts';
import { computePodPlan, isPodOver, type PodPlan } from '../../../../agent/pods/plan.ts';
import type { ContainerRuntimeStatus, PodRuntimeStatus, SandboxStatus } from '../../../../agent/pods/ports.ts';
import type { Container, Pod } from '../../../../src/kube/types.ts';
import { podOf } from '../pod.ts';

const NOW_MS = 1_000_000;

function sandbox(fields: Partial<SandboxStatus> = {}): SandboxStatus {
  return { id: 's0', attempt: 0, state: 'running', createdAtMs: 0, hostNetwork: false, ips: ['10.0.0.1'], ...fields };
}

/** `app:running`, `app:exited=3`, `app:created`; the id is `<name><restartCount>`. */
function record(text: string, fields: Partial<ContainerRuntimeStatus> = {}): ContainerRuntimeStatus {
  const [, name, state, code] = /^([^:]+):(\w+)(?:=(\d+))?$/.exec(text)!;
  const restartCount = fields.restartCount ?? 0;
  return {
    id: `${name}${restartCount}`,
    name: name!,
    state: state as ContainerRuntimeStatus['state'],
    createdAtMs: 0,
    ...(state === 'exited' && { exitCode: Number(code ?? 0), finishedAtMs: NOW_MS - 1000 }),
    oomKilled: false,
    image: 'busybox',
    imageId: '',
    restartCount,
    hash: containerHash({ name: name!, image: 'busybox' }),
    sandboxId: 's0',
    ...fields,
  };
}

function runtime(
  records: (string | ContainerRuntimeStatus)[],
  sandboxes: SandboxStatus[] = [sandbox()],
): PodRuntimeStatus {
  const containers = records.map((one) => (typeof one === 'string' ? record(one) : one));
  return { uid: 'uid-1', name: 'web', namespace: 'default', ips: [], sandboxes, containers };
}

const c = (name: string, fields: Partial<Container> = {}): Container => ({ name, image: 'busybox', ...fields });
const sidecar = (name: string, fields: Partial<Container> = {}) => c(name, { restartPolicy: 'Always', ...fields });

interface Facts {
  liveness?: Record<string, 'success' | 'failure'>;
  startup?: Record<string, 'success' | 'failure'>;
  backoff?: string[];
}

function planOf(pod: Pod, observed: PodRuntimeStatus, facts: Facts = {}): PodPlan {
  return computePodPlan({
    pod,
    runtime: observed,
    nowMs: NOW_MS,
    liveness: (id) => facts.liveness?.[id],
    startup: (id) => facts.startup?.[id],
    crashDelay: (name) => (facts.backoff?.includes(name) ? { delayMs: 10_000, untilMs: NOW_MS + 9_000 } : undefined),
  });
}

/** The plan in short: `kill-pod sandbox#1 kill(a1) remove(a0) start(a#2) wait(b)`. */
function short(plan: PodPlan): string {
  return [
    plan.killPod && 'kill-pod',
    plan.createSandbox && `sandbox#${plan.sandboxAttempt}`,
    ...plan.kill.map(({ id }) => `kill(${id})`),
    ...plan.remove.map((id) => `remove(${id})`),
    ...plan.start.map(({ name, attempt }) => `start(${name}#${attempt})`),
    ...plan.wait.map(({ name }) => `wait(${name})`),
  ]
    .filter(Boolean)
    .join(' ');
}

type Case = [title: string, spec: Partial<Pod['spec']>, observed: PodRuntimeStatus, expected: string, facts?: Facts];

const TWO = { containers: [c('a'), c('b')] };
const never = (spec: Partial<Pod['spec']>) => ({ ...spec, restartPolicy: 'Never' as const });
const onFailure = (spec: Partial<Pod['spec']>) => ({ ...spec, restartPolicy: 'OnFailure' as const });

const SANDBOX_CASES: Case[] = [
  ['nothing there', TWO, runtime([], []), 'kill-pod sandbox#0 start(a#0) start(b#0)'],
  [
    'sandbox exited',
    TWO,
    runtime(['a:exited=1', 'b:exited=0'], [sandbox({ state: 'exited' })]),
    'kill-pod sandbox#1 start(a#1) start(b#1)',
  ],
  [
    'sandbox made but not started',
    TWO,
    runtime([], [sandbox({ state: 'created' })]),
    'kill-pod sandbox#1 start(a#0) start(b#0)',
  ],
  [
    'two running sandboxes',
    TWO,
    runtime([], [sandbox({ attempt: 4 }), sandbox({ attempt: 3 })]),
    'kill-pod sandbox#5 start(a#0) start(b#0)',
  ],
  ['sandbox without address', TWO, runtime([], [sandbox({ ips: [] })]), 'kill-pod sandbox#1 start(a#0) start(b#0)'],
  [
    'host network needs no address',
    { ...TWO, hostNetwork: true },
    runtime(['a:running', 'b:running'], [sandbox({ hostNetwork: true, ips: [] })]),
    '',
  ],
  ['host network changed', { ...TWO, hostNetwork: true }, runtime([]), 'kill-pod sandbox#1 start(a#0) start(b#0)'],
  [
    'lost, OnFailure: what succeeded stays done',
    onFailure(TWO),
    runtime(['a:exited=0', 'b:exited=1'], [sandbox({ state: 'exited' })]),
    'kill-pod sandbox#1 start(b#1)',
  ],
  [
    'lost, OnFailure: all succeeded',
    onFailure(TWO),
    runtime(['a:exited=0', 'b:exited=0'], [sandbox({ state: 'exited' })]),
    'kill-pod',
  ],
  [
    'lost, Never: not again',
    never(TWO),
    runtime(['a:exited=0', 'b:running'], [sandbox({ state: 'exited' })]),
    'kill-pod',
  ],
  [
    'lost before anything ran, Never',
    never(TWO),
    runtime(['a:created'], [sandbox({ state: 'exited' })]),
    'kill-pod sandbox#1 remove(a0) start(a#0) start(b#0)',
  ],
  [
    'lost with init containers: from the first on',
    { ...TWO, initContainers: [c('i'), c('j')] },
    runtime(['j:exited=0', 'i:exited=0', 'a:exited=1'], [sandbox({ state: 'exited' })]),
    'kill-pod sandbox#1 remove(j0) remove(i0) start(i#1)',
  ],
];

const REGULAR_CASES: Case[] = [
  ['all run', TWO, runtime(['a:running', 'b:running']), ''],
  ['one is missing', TWO, runtime(['a:running']), 'start(b#0)'],
  ['exited 0, Always', TWO, runtime(['a:exited=0', 'b:running']), 'start(a#1)'],
  ['exited 0, OnFailure', onFailure(TWO), runtime(['a:exited=0', 'b:running']), ''],
  ['exited 1, OnFailure', onFailure(TWO), runtime(['a:exited=1', 'b:running']), 'start(a#1)'],
  ['exited 1, Never', never(TWO), runtime(['a:exited=1', 'b:running']), ''],
  ['all done, Never', never(TWO), runtime(['a:exited=1', 'b:exited=0']), 'kill-pod'],
  ['all done, OnFailure', onFailure(TWO), runtime(['a:exited=0', 'b:exited=0']), 'kill-pod'],
  ['created, never started', TWO, runtime(['a:created', 'b:running']), 'remove(a0) start(a#0)'],
  ['unknown', TWO, runtime(['a:unknown', 'b:running']), 'kill(a0) start(a#1)'],
  ['image changed', TWO, runtime([record('a:running', { hash: 'other' }), 'b:running']), 'kill(a0) start(a#1)'],
  [
    'image changed, Never',
    never(TWO),
    runtime([record('a:running', { hash: 'other' }), 'b:running']),
    'kill(a0) start(a#1)',
  ],
  ['liveness failed', TWO, runtime(['a:running', 'b:running']), 'kill(a0) start(a#1)', { liveness: { a0: 'failure' } }],
  [
    'liveness failed, Never',
    never(TWO),
    runtime(['a:running', 'b:running']),
    'kill(a0)',
    { liveness: { a0: 'failure' } },
  ],
  [
    'liveness of the only one failed, Never',
    never({ containers: [c('a')] }),
    runtime(['a:running']),
    'kill-pod kill(a0)',
    { liveness: { a0: 'failure' } },
  ],
  ['startup failed', TWO, runtime(['a:running', 'b:running']), 'kill(a0) start(a#1)', { startup: { a0: 'failure' } }],
  ['in back-off', TWO, runtime(['a:exited=1', 'b:running']), 'wait(a)', { backoff: ['a'] }],
  [
    'in back-off, nothing else runs: the pod lives',
    TWO,
    runtime(['a:exited=1', 'b:exited=1']),
    'wait(a) wait(b)',
    { backoff: ['a', 'b'] },
  ],
  [
    'the newest record counts',
    TWO,
    runtime([record('a:running', { restartCount: 2 }), record('a:exited=1', { restartCount: 1 }), 'b:running']),
    '',
  ],
  [
    'older runs go, the newest ended one stays',
    TWO,
    runtime([
      record('a:exited=1', { restartCount: 2 }),
      record('a:exited=1', { restartCount: 1 }),
      'a:exited=1',
      'b:running',
    ]),
    'remove(a1) remove(a0) start(a#3)',
  ],
  [
    'own policy Never',
    { containers: [c('a', { restartPolicy: 'Never' }), c('b')] },
    runtime(['a:exited=1', 'b:running']),
    '',
  ],
  [
    'rule restarts by exit code',
    never({
      containers: [
        c('a', {
          restartPolicy: 'Never',
          restartPolicyRules: [{ action: 'Restart', exitCodes: { operator: 'In', values: [42] } }],
        }),
        c('b'),
      ],
    }),
    runtime(['a:exited=42', 'b:running']),
    'start(a#1)',
  ],
  [
    'rule does not match',
    never({
      containers: [
        c('a', {
          restartPolicy: 'Never',
          restartPolicyRules: [{ action: 'Restart', exitCodes: { operator: 'NotIn', values: [42] } }],
        }),
        c('b'),
      ],
    }),
    runtime(['a:exited=42', 'b:running']),
    '',
  ],
];

const INITS = { containers: [c('a')], initContainers: [c('i'), c('j')] };
const SIDED = { containers: [c('a')], initContainers: [sidecar('s'), c('j'), sidecar('z')] };
const PROBED = { containers: [c('a')], initContainers: [sidecar('s', { startupProbe: {} }), c('j')] };

const INIT_CASES: Case[] = [
  [
    'what ran in a lost sandbox and could not be removed was for that one',
    INITS,
    runtime([record('i:exited=0', { sandboxId: 'lost' }), record('j:exited=0', { sandboxId: 'lost' })]),
    'start(i#1)',
  ],
  [
    'the same, when the first has run in this one',
    INITS,
    runtime([record('i:exited=0', { restartCount: 1 }), record('j:exited=0', { sandboxId: 'lost' })]),
    'start(j#1)',
  ],
  ['the first', INITS, runtime([]), 'start(i#0)'],
  ['first runs', INITS, runtime(['i:running']), ''],
  ['first done', INITS, runtime(['i:exited=0']), 'start(j#0)'],
  ['second runs', INITS, runtime(['i:exited=0', 'j:running']), ''],
  ['all done', INITS, runtime(['i:exited=0', 'j:exited=0']), 'start(a#0)'],
  ['first failed, Always', INITS, runtime(['i:exited=1']), 'start(i#1)'],
  ['first failed, in back-off', INITS, runtime(['i:exited=1']), 'wait(i)', { backoff: ['i'] }],
  ['first failed, OnFailure', onFailure(INITS), runtime(['i:exited=1']), 'start(i#1)'],
  ['first failed, Never', never(INITS), runtime(['i:exited=1']), 'kill-pod'],
  ['first unknown', INITS, runtime(['i:unknown']), 'kill(i0) start(i#1)'],
  ['first unknown, Never', never(INITS), runtime(['i:unknown']), 'kill-pod'],
  ['first created', INITS, runtime(['i:created']), 'remove(i0) start(i#0)'],
  ['initialized: records of init containers may be gone', INITS, runtime(['a:running']), ''],
  [
    'initialized, regular one crashed',
    { containers: [c('a'), c('b')], initContainers: [c('i')] },
    runtime(['i:exited=0', 'a:running', 'b:exited=1']),
    'start(b#1)',
  ],
  ['after a reboot an exited regular one proves nothing', INITS, runtime(['a:exited=1']), 'start(i#0)'],
  ['sidecar first', SIDED, runtime([]), 'start(s#0)'],
  ['sidecar runs: the next', SIDED, runtime(['s:running']), 'start(j#0)'],
  ['sidecar died while the next runs', SIDED, runtime(['s:exited=1', 'j:running']), 'start(s#1)'],
  ['sidecar died, next one done', SIDED, runtime(['s:exited=0', 'j:exited=0']), 'start(s#1) start(z#0)'],
  ['last sidecar runs: initialized', SIDED, runtime(['s:running', 'j:exited=0', 'z:running']), 'start(a#0)'],
  [
    'a sidecar in back-off holds nobody up',
    SIDED,
    runtime(['s:exited=1', 'j:exited=0', 'z:running']),
    'start(a#0) wait(s)',
    { backoff: ['s'] },
  ],
  ['all run', SIDED, runtime(['s:running', 'j:exited=0', 'z:running', 'a:running']), ''],
  ['sidecar lost its record while the pod runs', SIDED, runtime(['z:running', 'a:running']), 'start(s#0)'],
  [
    'sidecars do not keep a finished pod alive',
    never(SIDED),
    runtime(['s:running', 'j:exited=0', 'z:running', 'a:exited=0']),
    'kill-pod',
  ],
  ['startup probe without result: wait', PROBED, runtime(['s:running']), ''],
  ['startup probe succeeded', PROBED, runtime(['s:running']), 'start(j#0)', { startup: { s0: 'success' } }],
  ['startup probe failed', PROBED, runtime(['s:running']), 'kill(s0) start(s#1)', { startup: { s0: 'failure' } }],
  [
    'sidecar liveness failed',
    { ...SIDED, initContainers: [sidecar('s', { livenessProbe: {} })] },
    runtime(['s:running', 'a:running']),
    'kill(s0) start(s#1)',
    { liveness: { s0: 'failure' } },
  ],
  [
    'sidecar image changed',
    { ...SIDED, initContainers: [sidecar('s')] },
    runtime([record('s:running', { hash: 'other' }), 'a:running']),
    'kill(s0) start(s#1)',
  ],
];

for (const [group, cases] of Object.entries({ sandbox: SANDBOX_CASES, regular: REGULAR_CASES, init: INIT_CASES }))
  for (const [title, spec, observed, expected, facts] of cases)
    test(`${group}: ${title}`, (t) => {
      t.is(short(planOf(podOf(spec), observed, facts)), expected);
    });

test('a pod that is being deleted starts nothing', (t) => {
  const pod = podOf(TWO, { deletionTimestamp: '2026-01-01T00:00:00Z' });
  t.is(short(planOf(pod, runtime(['a:running', 'b:exited=1']))), '');
});

test('messages of kills are upstream’s', (t) => {
  const kill = (spec: Partial<Pod['spec']>, observed: PodRuntimeStatus, facts?: Facts) =>
    planOf(podOf(spec), observed, facts).kill[0];
  const failed = { liveness: { a0: 'failure' } as const };
  t.is(
    kill(TWO, runtime(['a:running', 'b:running']), failed)!.message,
    'Container a failed liveness probe, will be restarted',
  );
  t.is(kill(never(TWO), runtime(['a:running', 'b:running']), failed)!.message, 'Container a failed liveness probe');
  t.is(kill(never(TWO), runtime(['a:running', 'b:running']), failed)!.probe, 'liveness');
  t.is(
    kill(TWO, runtime([record('a:running', { hash: 'x' }), 'b:running']))!.message,
    'Container a definition changed, will be restarted',
  );
  t.is(
    kill(PROBED, runtime(['s:running']), { startup: { s0: 'failure' } })!.message,
    'Init container s failed startup probe',
  );
});

test('a pod is over when it is killed without a new sandbox', (t) => {
  t.true(isPodOver(planOf(podOf(never(TWO)), runtime(['a:exited=0', 'b:exited=0']))));
  t.false(isPodOver(planOf(podOf(TWO), runtime([], []))));
  t.false(isPodOver(planOf(podOf(TWO), runtime(['a:running', 'b:running']))));
});

test('a restart carries when the last run ended, and the wait until when', (t) => {
  const plan = planOf(podOf(TWO), runtime(['a:exited=1', 'b:exited=1']), { backoff: ['b'] });
  t.is(plan.start[0]!.finishedAtMs, NOW_MS - 1000);
  t.deepEqual(plan.wait, [{ name: 'b', delayMs: 10_000, untilMs: NOW_MS + 9_000 }]);
});

test('a back-off that ends while the plan is made is not over for a part of it', (t) => {
  const restartPolicyRules = [
    { action: 'RestartAllContainers' as const, exitCodes: { operator: 'In' as const, values: [42] } },
  ];
  const pod = podOf({
    restartPolicy: 'Never',
    containers: [c('main', { restartPolicy: 'Never', restartPolicyRules }), c('other')],
  });
  let asked = 0;
  const plan = computePodPlan({
    pod,
    runtime: runtime(['main:exited=42', 'other:running']),
    status: undefined,
    nowMs: NOW_MS,
    liveness: () => undefined,
    startup: () => undefined,
    crashDelay: () => (asked++ === 0 ? { untilMs: NOW_MS + 1, delayMs: 10_000 } : undefined),
  });
  t.deepEqual(plan.start, [], 'main alone would leave the others as they are');
  t.deepEqual(
    plan.wait.map(({ name }) => name),
    ['main'],
  );
});

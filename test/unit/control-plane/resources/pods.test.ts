import test from 'ava';
import type { CreateSubresource } from '../../../../control-plane/apiserver/definition.ts';
import { definePods } from '../../../../control-plane/resources/pods.ts';
import type { Pod, PodSpec, ServiceAccount } from '../../../../src/kube/types.ts';
import { errorTexts, meta, NOW_MS, strategyContext } from '../../../support/strategy-context.ts';

let slept = 0;
const pods = definePods({
  subresources: {},
  sleep: async () => {
    slept++;
  },
});

const account = (name: string, rest: Partial<ServiceAccount> = {}): ServiceAccount => ({
  metadata: meta(name),
  ...rest,
});
const withAccounts = (...accounts: ServiceAccount[]) => strategyContext(undefined, { serviceaccounts: accounts });

const makePod = (spec: Partial<PodSpec> = {}, rest: Partial<Pod> = {}): Pod => ({
  metadata: meta('p'),
  spec: { containers: [{ name: 'c', image: 'x:1' }], ...spec },
  ...rest,
});

async function created(pod: Pod, context = withAccounts(account('default'))): Promise<Pod> {
  pods.applyDefaults(pod);
  await pods.prepareForCreate(pod, context);
  return pod;
}

test('a new pod is pending, whatever status it came with, and has its class', async (t) => {
  const pod = await created(makePod({}, { status: { phase: 'Running', podIP: '1.2.3.4' } }));
  t.deepEqual(pod.status, { phase: 'Pending', qosClass: 'BestEffort' });
});

const classes: [string, PodSpec['containers'][0]['resources'], string][] = [
  ['nothing', {}, 'BestEffort'],
  ['a request', { requests: { cpu: '1m' } }, 'Burstable'],
  ['both limits', { limits: { cpu: '1', memory: '1Gi' } }, 'Guaranteed'],
  ['one limit', { limits: { cpu: '1' } }, 'Burstable'],
  ['limits above requests', { limits: { cpu: '1', memory: '1Gi' }, requests: { cpu: '500m' } }, 'Burstable'],
];
for (const [what, resources, qosClass] of classes)
  test(`a pod with ${what} is ${qosClass}`, async (t) => {
    const pod = await created(makePod({ containers: [{ name: 'c', image: 'x:1', resources }] }));
    t.is(pod.status?.qosClass, qosClass as never);
  });

test('admission adds account, priority and tolerations', async (t) => {
  const { spec } = await created(makePod());
  t.is(spec.serviceAccountName, 'default');
  t.is(spec.serviceAccount, 'default');
  t.is(spec.priority, 0);
  t.is(spec.preemptionPolicy, 'PreemptLowerPriority');
  t.deepEqual(spec.tolerations, [
    { key: 'node.kubernetes.io/not-ready', operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 300 },
    { key: 'node.kubernetes.io/unreachable', operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 300 },
  ]);
});

test('tolerations that cover it are enough', async (t) => {
  const { spec } = await created(makePod({ tolerations: [{ operator: 'Exists' }] }));
  t.deepEqual(spec.tolerations, [{ operator: 'Exists' }]);
});

test('the account’s pull secrets are used where the pod names none', async (t) => {
  const context = withAccounts(account('default', { imagePullSecrets: [{ name: 'registry' }] }));
  t.deepEqual((await created(makePod(), context)).spec.imagePullSecrets, [{ name: 'registry' }]);
});

test('a system priority class', async (t) => {
  const { spec } = await created(makePod({ priorityClassName: 'system-node-critical' }));
  t.is(spec.priority, 2_000_001_000);
});

test.serial('an absent default account is waited for, then refused', async (t) => {
  slept = 0;
  const error = await t.throwsAsync(created(makePod(), strategyContext()));
  t.is(
    error.message,
    'pods "p" is forbidden: error looking up service account default/default: serviceaccount "default" not found',
  );
  t.is(slept, 9);
});

const refusals: [string, Pod, string][] = [
  [
    'another account that is not there',
    makePod({ serviceAccountName: 'x' }),
    'pods "p" is forbidden: error looking up service account default/x: serviceaccount "x" not found',
  ],
  [
    'an unknown priority class',
    makePod({ priorityClassName: 'high' }),
    'pods "p" is forbidden: no PriorityClass with name high was found',
  ],
  [
    'a priority of its own',
    makePod({ priority: 7 }),
    'pods "p" is forbidden: the integer value of priority (7) must not be provided in pod spec; priority admission controller computed 0 from the given PriorityClass name',
  ],
  [
    'ephemeral containers',
    makePod({ ephemeralContainers: [{ name: 'e', image: 'x:1' }] }),
    'Pod "p" is invalid: spec.ephemeralContainers: Forbidden: cannot be set on create',
  ],
];
for (const [what, pod, message] of refusals)
  test(`a new pod with ${what} is refused`, async (t) => {
    t.is((await t.throwsAsync(created(pod))).message, message);
  });

test('a malformed quantity is a bad request', (t) => {
  const pod = makePod({ containers: [{ name: 'c', image: 'x:1', resources: { limits: { cpu: 'much' } } }] });
  const error = t.throws(() => pods.applyDefaults(pod), { name: 'StatusError' });
  t.regex(error.message, /^Pod in version "v1" cannot be handled as a Pod: quantities must match/);
});

const graces: [string, Partial<PodSpec>, Pod['status'], number | undefined, number][] = [
  ['asks for its own grace', { nodeName: 'n' }, { phase: 'Running' }, undefined, 30],
  ['is given less', { nodeName: 'n' }, { phase: 'Running' }, 5, 5],
  ['goes at once on demand', { nodeName: 'n' }, { phase: 'Running' }, 0, 0],
  ['has a negative grace', { nodeName: 'n' }, { phase: 'Running' }, -5, 1],
  ['is not scheduled', {}, { phase: 'Pending' }, 10, 0],
  ['is over', { nodeName: 'n' }, { phase: 'Failed' }, 10, 0],
];
for (const [what, spec, status, requested, expected] of graces)
  test(`a pod that ${what} gets ${expected} s`, (t) => {
    const pod = makePod(spec, { status });
    pods.applyDefaults(pod);
    t.is(pods.gracePeriodSeconds?.(pod, requested), expected);
  });

function updateProblems(change: (spec: PodSpec) => void, before: Partial<PodSpec> = {}): string[] {
  const old = makePod(before);
  pods.applyDefaults(old);
  const pod = structuredClone(old);
  change(pod.spec);
  return errorTexts(pods.validateUpdate(pod, old)).map((text) => text.split('\n')[0]!);
}

test('an update may change images, deadline, tolerations', (t) => {
  t.deepEqual(
    updateProblems((spec) => {
      spec.containers[0]!.image = 'y:2';
      spec.activeDeadlineSeconds = 5;
      spec.tolerations = [{ key: 'a', operator: 'Exists' }];
    }),
    [],
  );
});

const NOT_UPDATABLE =
  'spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)';
const updates: [string, (spec: PodSpec) => void, Partial<PodSpec>, string[]][] = [
  ['the node', (spec) => (spec.nodeName = 'n'), {}, [NOT_UPDATABLE]],
  ['a command', (spec) => (spec.containers[0]!.command = ['x']), {}, [NOT_UPDATABLE]],
  [
    'the number of containers',
    (spec) => spec.containers.push({ name: 'd', image: 'x:1' }),
    {},
    ['spec.containers: Forbidden: pod updates may not add or remove containers'],
  ],
  [
    'a longer deadline',
    (spec) => (spec.activeDeadlineSeconds = 9),
    { activeDeadlineSeconds: 5 },
    ['spec.activeDeadlineSeconds: Invalid value: 9: must be less than or equal to previous value'],
  ],
  [
    'fewer tolerations',
    (spec) => (spec.tolerations = []),
    { tolerations: [{ key: 'a', operator: 'Exists' }] },
    ['spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds'],
  ],
  [
    'more gates',
    (spec) => (spec.schedulingGates = [{ name: 'a' }, { name: 'b' }]),
    { schedulingGates: [{ name: 'a' }] },
    ["spec.schedulingGates[1].name: Forbidden: only deletion is allowed, but found new scheduling gate 'b'"],
  ],
  ['fewer gates', (spec) => delete spec.schedulingGates, { schedulingGates: [{ name: 'a' }] }, []],
];
for (const [what, change, before, expected] of updates)
  test(`an update of ${what}`, (t) => {
    t.deepEqual(updateProblems(change, before), expected);
  });

test('an update keeps the status', async (t) => {
  const old = makePod({}, { status: { phase: 'Running' } });
  const pod = makePod({}, { status: { phase: 'Failed' } });
  await pods.prepareForUpdate(pod, old, strategyContext());
  t.is(pod.status?.phase, 'Running');
});

test('a status update may not restart what has ended', (t) => {
  const status = (state: object): Pod['status'] => ({
    phase: 'Running',
    containerStatuses: [{ name: 'c', image: 'x', imageID: '', ready: false, restartCount: 0, state }],
  });
  const old = makePod({ restartPolicy: 'Never' }, { status: status({ terminated: { exitCode: 0 } }) });
  const pod = makePod({ restartPolicy: 'Never' }, { status: status({ running: {} }) });
  t.deepEqual(errorTexts(pods.status!.validateUpdate!(pod, old)), [
    'status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state',
  ]);
});

test('a status update may restart what its own rules restart, and everything when one may restart all', (t) => {
  const statuses = (state: object): Pod['status'] => ({
    phase: 'Running',
    containerStatuses: ['c', 'd'].map((name) => ({
      name,
      image: 'x',
      imageID: '',
      ready: false,
      restartCount: 0,
      state,
    })),
  });
  const problems = (action: 'Restart' | 'RestartAllContainers') => {
    const exitCodes = { operator: 'In' as const, values: [42] };
    const ruled = { restartPolicy: 'Never' as const, restartPolicyRules: [{ action, exitCodes }] };
    const containers = [
      { name: 'c', image: 'x:1', ...ruled },
      { name: 'd', image: 'x:1' },
    ];
    const old = makePod({ restartPolicy: 'Never', containers }, { status: statuses({ terminated: { exitCode: 42 } }) });
    const pod = makePod({ restartPolicy: 'Never', containers }, { status: statuses({ running: {} }) });
    return errorTexts(pods.status!.validateUpdate!(pod, old));
  };
  t.deepEqual(problems('RestartAllContainers'), []);
  t.deepEqual(problems('Restart'), [
    'status.containerStatuses[1].state: Forbidden: may not be transitioned to non-terminated state',
  ]);
});

const binding = pods.subresources['binding'] as CreateSubresource<Pod>;

function bind(pod: Pod, target: object, metadata: object = { name: 'p' }): Promise<object> {
  return binding.create({
    namespace: 'default',
    name: 'p',
    body: { kind: 'Binding', metadata, target } as never,
    context: strategyContext(),
    modify: async (change) => {
      change(pod);
      return pod;
    },
  });
}

test('a binding gives a pod its node and says so', async (t) => {
  const pod = makePod();
  const answer = await bind(pod, { kind: 'Node', name: 'n1' });
  t.like(answer, { kind: 'Status', status: 'Success', code: 201 });
  t.is(pod.spec.nodeName, 'n1');
  t.like(pod.status?.conditions?.[0], {
    type: 'PodScheduled',
    status: 'True',
    lastTransitionTime: new Date(NOW_MS).toISOString().replace('.000', ''),
  });
});

const badBindings: [string, Pod, object, object, string][] = [
  ['to nothing', makePod(), {}, {}, 'Binding "p" is invalid: target.name: Required value'],
  [
    'to a pod',
    makePod(),
    { kind: 'Pod', name: 'x' },
    {},
    'Binding "p" is invalid: target.kind: Unsupported value: "Pod": supported values: "Node", "<empty>"',
  ],
  [
    'twice',
    makePod({ nodeName: 'n0' }),
    { name: 'n1' },
    {},
    'Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node "n0"',
  ],
  [
    'of another pod of that name',
    makePod({}, { metadata: meta('p', { uid: 'u1' }) }),
    { name: 'n1' },
    { uid: 'u0' },
    'Operation cannot be fulfilled on pods/binding "p": Precondition failed: UID in precondition: u0, UID in object meta: u1',
  ],
];
for (const [what, pod, target, metadata, message] of badBindings)
  test(`a binding ${what} is refused`, async (t) => {
    t.is((await t.throwsAsync(bind(pod, target, metadata))).message, message);
  });

import test from 'ava';
import { createPreemption } from '../../../../agent/pods/preempt.ts';
import { createNodeAdmission } from '../../../../agent/resources/admission/handlers.ts';
import { choosePreempted, formatNeeds, isPreemptable } from '../../../../agent/resources/admission/preemption.ts';
import type { NodeResources } from '../../../../agent/resources/node-resources.ts';
import type { Pod } from '../../../../src/kube/types.ts';
import { systemClock } from '../../../../src/runtime/clock.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { Registry } from '../../../../src/runtime/metrics.ts';
import { createFakeAgent, until } from '../fake-agent.ts';
import { podOf, resources } from '../pod.ts';
import { pod as runnable } from '../pods/story-pods.ts';

const CRITICAL = { priority: 2_000_000_000 };
const pod = (name: string, cpu = '', memory = '', spec: Partial<Pod['spec']> = {}) =>
  podOf({ containers: [{ name: 'c', image: 'i', resources: resources(cpu, memory) }], ...spec }, { name, uid: name });
const needs = (cpu: number, memory = 0) => new Map(Object.entries({ cpu, memory }).filter(([, amount]) => amount > 0));
const GI = 2 ** 30;

const cases: [string, Pod[], Map<string, number>, string[] | string][] = [
  ['the one that suffices', [pod('small', '1'), pod('large', '3')], needs(2000), ['large']],
  ['the smallest of those that suffice', [pod('large', '4'), pod('enough', '2')], needs(2000), ['enough']],
  ['two, when none suffices', [pod('a', '1'), pod('b', '1'), pod('c', '500m')], needs(2000), ['a', 'b']],
  [
    'no Guaranteed pod when Burstable ones suffice',
    [pod('guaranteed', '2/2', '1Gi/1Gi'), pod('burstable', '2', '1Gi')],
    needs(2000),
    ['burstable'],
  ],
  [
    'a Guaranteed one when nothing else suffices',
    [pod('guaranteed', '2/2', '1Gi/1Gi'), pod('burstable', '1', '1Gi')],
    needs(2000),
    ['guaranteed'],
  ],
  [
    'both needs at once',
    [pod('cpu', '2', '1Mi'), pod('memory', '10m', '2Gi'), pod('both', '2', '2Gi')],
    needs(2000, 2 * GI),
    ['both'],
  ],
  [
    'never a critical one',
    [pod('critical', '4', '', CRITICAL), pod('plain', '1')],
    needs(2000),
    '[(res: cpu, q: 1000), ]',
  ],
  ['one place', [pod('best-effort'), pod('burstable', '1')], new Map([['pods', 1]]), ['best-effort']],
  ['nobody there', [], needs(1), '[(res: cpu, q: 1), ]'],
];
for (const [title, others, wanted, expected] of cases)
  test(`preemption: ${title}`, (t) => {
    const choice = choosePreempted(pod('critical', '1', '', CRITICAL), others, wanted);
    if ('lacking' in choice) t.is(formatNeeds(choice.lacking), expected as string);
    else
      t.deepEqual(
        choice.victims.map(({ metadata }) => metadata.name),
        expected as string[],
      );
  });

test('who may make whom go', (t) => {
  const plain = pod('plain', '', '', { priority: 0 });
  const high = pod('high', '', '', { priority: 5 });
  const fromFile = podOf({}, { annotations: { 'kubernetes.io/config.source': 'file' } });
  t.true(isPreemptable(fromFile, plain));
  t.true(isPreemptable(high, plain));
  t.false(isPreemptable(plain, high));
  t.false(isPreemptable(plain, pod('none')));
  t.false(isPreemptable(fromFile, pod('critical', '', '', CRITICAL)));
});

const allocatable: NodeResources = {
  cpuMillis: 2000,
  memoryBytes: 4 * GI,
  ephemeralStorageBytes: 2 ** 36,
  pods: 10,
  hugepages: new Map([[2 ** 21, 2 ** 22]]),
  extended: new Map([['example.com/device', 1]]),
};
const node = { name: 'node-1', labels: {}, taints: [], allocatable, allowedUnsafeSysctls: [] };
const never = new AbortController().signal;

test('a critical pod that could not come in anyway makes nobody go; one that lacks what nobody has is told so', async (t) => {
  const ended: string[] = [];
  const { allocation } = createNodeAdmission({
    node: () => node,
    preempt: async (victims) => void ended.push(...victims.map(({ metadata }) => metadata.name!)),
  });
  const others = [pod('plain', '2')];
  const elsewhere = pod('critical', '1', '', { ...CRITICAL, nodeSelector: { zone: 'b' } });
  t.is((await allocation!.admit(elsewhere, others, never))?.reason, 'NodeAffinity');
  t.deepEqual(ended, []);
  t.is(await allocation!.admit(pod('critical', '1', '', CRITICAL), others, never), undefined);
  t.deepEqual(ended, ['plain']);
  t.deepEqual(await allocation!.admit(pod('critical', '3', '', CRITICAL), others, never), {
    reason: 'UnexpectedAdmissionError',
    message:
      'Unexpected error while attempting to recover from admission failure: preemption: error finding a set of pods to preempt: no set of running pods found to reclaim resources: [(res: cpu, q: 1000), ]',
  });
});

test('huge pages that the node lacks, and extended resources that it knows, are refused; others are not its business', async (t) => {
  const { allocation, predicates } = createNodeAdmission({ node: () => node, preempt: async () => {} });
  const asking = (list: Record<string, string>) =>
    podOf({ containers: [{ name: 'c', image: 'i', resources: { requests: list, limits: list } }] });
  const reason = async (list: Record<string, string>) =>
    (await allocation!.admit(asking(list), [], never))?.reason ??
    (await predicates!.admit(asking(list), [], never))?.reason;
  t.is(await reason({ 'hugepages-2Mi': '4Mi' }), undefined);
  t.is(await reason({ 'hugepages-2Mi': '6Mi' }), 'OutOfhugepages-2Mi');
  t.is(await reason({ 'hugepages-1Gi': '1Gi' }), 'OutOfhugepages-1Gi');
  t.is(await reason({ 'example.com/device': '1' }), undefined);
  t.is(await reason({ 'example.com/device': '2' }), 'OutOfexample.com/device');
  t.is(await reason({ 'example.com/unknown': '9' }), undefined);
});

test('labels that are news to the agent are asked for before a pod is refused', async (t) => {
  let asked = 0;
  const { predicates } = createNodeAdmission({
    node: () => node,
    async refreshNode() {
      asked++;
      return { ...node, labels: { zone: 'b' } };
    },
    preempt: async () => {},
  });
  t.is(await predicates!.admit(pod('p', '', '', { nodeSelector: { zone: 'b' } }), [], never), undefined);
  t.is((await predicates!.admit(pod('p', '', '', { nodeSelector: { zone: 'c' } }), [], never))?.reason, 'NodeAffinity');
  t.is(await predicates!.admit(pod('p'), [], never), undefined);
  t.is(asked, 2);
});

test('a critical pod comes in over a running one and one that waits behind it; the metric counts', async (t) => {
  const registry = new Registry();
  const agent = await createFakeAgent(t, {
    admission: createNodeAdmission({
      node: () => node,
      preempt: createPreemption({
        workers: () => agent.workers,
        events: { event: (_pod, _type, reason, message) => agent.events.push({ reason, message }) },
        registry,
        clock: systemClock,
        log: silentLogger,
      }),
    }),
  });
  const sized = (uid: string, cpu: string, spec: Partial<Pod['spec']> = {}) =>
    runnable(
      {
        containers: [{ name: 'app', image: 'busybox:1', resources: resources(cpu) }],
        terminationGracePeriodSeconds: 1,
        ...spec,
      },
      { uid, name: uid },
    );
  const victim = sized('victim', '2');
  agent.workers.update(victim);
  await until('the first runs', () => agent.phase(victim) === 'Running');
  const critical = sized('critical', '1500m', CRITICAL);
  agent.workers.update(critical);
  // Its worker waits for its turn while the critical pod has it.
  agent.workers.update({ ...victim, metadata: { ...victim.metadata, labels: { new: 'one' } } });
  await until('the critical one runs', () => agent.phase(critical) === 'Running');
  t.like(agent.statuses.get('victim')!, {
    phase: 'Failed',
    reason: 'Preempting',
    message: 'Preempted in order to admit critical pod',
  });
  t.true(agent.reasons().includes('Preempting'));
  t.regex(await registry.metrics(), /^kubelet_preemptions\{preemption_signal="cpu"\} 1$/m);
});

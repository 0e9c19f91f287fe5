import test from 'ava';
import type { ObjectSubresource } from '../../../../control-plane/apiserver/definition.ts';
import { definePods } from '../../../../control-plane/resources/pods.ts';
import type { EphemeralContainer, Pod, PodSpec } from '../../../../src/kube/types.ts';
import { errorTexts, meta, strategyContext } from '../../../support/strategy-context.ts';

const pods = definePods({ subresources: {}, sleep: async () => {} });
const door = pods.subresources.ephemeralcontainers as ObjectSubresource<Pod>;

const debugger_ = (name: string, fields: Partial<EphemeralContainer> = {}): EphemeralContainer => ({
  name,
  image: 'x:1',
  ...fields,
});

function podWith(spec: Partial<PodSpec> = {}, annotations?: Record<string, string>): Pod {
  const pod: Pod = {
    metadata: { ...meta('p'), generation: 3, ...(annotations && { annotations }) },
    spec: { containers: [{ name: 'c', image: 'x:1' }], ...spec },
    status: { phase: 'Running' },
  };
  pods.applyDefaults(pod);
  return pod;
}

/** What the door says to a change of a stored pod, and what the pod is then. */
async function change(old: Pod, edit: (pod: Pod) => void): Promise<{ pod: Pod; problems: string[] }> {
  const pod = structuredClone(old);
  edit(pod);
  pods.applyDefaults(pod);
  await door.prepareForUpdate(pod, old, strategyContext());
  return { pod, problems: errorTexts(door.validateUpdate!(pod, old)) };
}

test('an ephemeral container is added; nothing else comes in with it', async (t) => {
  const { pod, problems } = await change(podWith(), (one) => {
    one.spec.ephemeralContainers = [debugger_('debug', { targetContainerName: 'c', stdin: true, tty: true })];
    one.spec.containers[0]!.image = 'other:1';
    one.metadata.labels = { sneaked: 'in' };
    one.status = { phase: 'Failed' };
  });
  t.deepEqual(problems, []);
  t.like(pod.spec.ephemeralContainers![0], {
    name: 'debug',
    targetContainerName: 'c',
    imagePullPolicy: 'IfNotPresent',
  });
  t.is(pod.spec.containers[0]!.image, 'x:1');
  t.is(pod.metadata.labels, undefined);
  t.is(pod.status!.phase, 'Running');
  t.is(pod.metadata.generation, 4);
});

test('a write that adds nothing is no new generation', async (t) => {
  t.is((await change(podWith(), () => {})).pod.metadata.generation, 3);
});

const at = 'spec.ephemeralContainers[0]';
const why = 'Forbidden: cannot be set for an Ephemeral Container';
const refused: [string, Partial<EphemeralContainer>, string[]][] = [
  ['ports', { ports: [{ containerPort: 80 }] }, [`${at}.ports: ${why}`]],
  ['a liveness probe', { livenessProbe: { exec: { command: ['true'] } } }, [`${at}.livenessProbe: ${why}`]],
  ['a readiness probe', { readinessProbe: { exec: { command: ['true'] } } }, [`${at}.readinessProbe: ${why}`]],
  ['a startup probe', { startupProbe: { exec: { command: ['true'] } } }, [`${at}.startupProbe: ${why}`]],
  ['hooks', { lifecycle: { preStop: { sleep: { seconds: 1 } } } }, [`${at}.lifecycle: ${why}`]],
  ['resources', { resources: { limits: { cpu: '1' } } }, [`${at}.resources: ${why}`]],
  ['a restart policy', { restartPolicy: 'Always' }, [`${at}.restartPolicy: ${why}`]],
  ['a target that is not there', { targetContainerName: 'nobody' }, [`${at}.targetContainerName: Not found: "nobody"`]],
  ['the name of another container', { name: 'c' }, [`${at}.name: Duplicate value: "c"`]],
];
for (const [what, fields, expected] of refused)
  test(`an ephemeral container with ${what} is refused`, async (t) => {
    const { problems } = await change(podWith(), (pod) => {
      pod.spec.ephemeralContainers = [debugger_('debug', fields)];
    });
    t.deepEqual(problems, expected);
  });

test('what is there may be neither changed nor removed, whatever the order', async (t) => {
  const old = podWith({ ephemeralContainers: [debugger_('one'), debugger_('two')] });
  const problemsOf = async (...containers: EphemeralContainer[]) =>
    (
      await change(old, (pod) => {
        pod.spec.ephemeralContainers = containers;
      })
    ).problems;
  t.deepEqual(await problemsOf(debugger_('two'), debugger_('three'), debugger_('one')), []);
  t.deepEqual(await problemsOf(debugger_('two')), [
    'spec.ephemeralContainers: Forbidden: existing ephemeral containers "one" may not be removed',
  ]);
  t.deepEqual(await problemsOf(debugger_('one', { command: ['other'] }), debugger_('two')), [
    'spec.ephemeralContainers: Forbidden: existing ephemeral containers "one" may not be changed',
  ]);
});

test('a mirror pod takes none: its node does not look at it', async (t) => {
  const { problems } = await change(podWith({}, { 'kubernetes.io/config.mirror': 'h' }), (pod) => {
    pod.spec.ephemeralContainers = [debugger_('debug')];
  });
  t.deepEqual(problems, [': Forbidden: static pods do not support ephemeral containers']);
});

test('the pod itself may not take one through its own door', (t) => {
  const old = podWith();
  const pod = podWith({ ephemeralContainers: [debugger_('debug')] });
  t.regex(errorTexts(pods.validateUpdate(pod, old))[0]!, /^spec: Forbidden: pod updates may not change fields/);
});

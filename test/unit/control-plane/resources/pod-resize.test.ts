import test from 'ava';
import type { ObjectSubresource } from '../../../../control-plane/apiserver/definition.ts';
import { definePods } from '../../../../control-plane/resources/pods.ts';
import type { Container, Pod, PodSpec, ResourceRequirements } from '../../../../src/kube/types.ts';
import { errorTexts, meta, strategyContext } from '../../../support/strategy-context.ts';

const pods = definePods({ subresources: {}, sleep: async () => {} });
const door = pods.subresources.resize as ObjectSubresource<Pod>;

const asks = (cpu: string, memory: string, limits?: [string, string]): ResourceRequirements => ({
  requests: { cpu, memory },
  ...(limits && { limits: { cpu: limits[0], memory: limits[1] } }),
});
const container = (name: string, resources?: ResourceRequirements, more: Partial<Container> = {}): Container => ({
  name,
  image: 'x:1',
  ...(resources && { resources }),
  ...more,
});

function podWith(spec: Partial<PodSpec>, more: Partial<Pod> = {}): Pod {
  const pod: Pod = {
    metadata: { ...meta('p'), generation: 3, ...more.metadata },
    spec: { containers: [container('c', asks('100m', '64Mi'))], ...spec },
    status: { phase: 'Running', ...more.status },
  };
  pods.applyDefaults(pod);
  return pod;
}

async function change(old: Pod, edit: (pod: Pod) => void): Promise<{ pod: Pod; problems: string[] }> {
  const pod = structuredClone(old);
  edit(pod);
  pods.applyDefaults(pod);
  await door.prepareForUpdate(pod, old, strategyContext());
  return { pod, problems: errorTexts(door.validateUpdate!(pod, old)) };
}

test('amounts change, and nothing else comes in with them', async (t) => {
  const { pod, problems } = await change(podWith({}), (one) => {
    one.spec.containers[0]!.resources = asks('200m', '128Mi');
    one.spec.containers[0]!.image = 'other:1';
    one.spec.nodeName = 'elsewhere';
    one.metadata.labels = { sneaked: 'in' };
    one.status = { phase: 'Failed' };
  });
  t.deepEqual(problems, []);
  t.deepEqual(pod.spec.containers[0]!.resources, asks('200m', '128Mi'));
  t.is(pod.spec.containers[0]!.image, 'x:1');
  t.is(pod.spec.nodeName, undefined);
  t.is(pod.metadata.labels, undefined);
  t.is(pod.status!.phase, 'Running');
  t.is(pod.metadata.generation, 4);
});

test('a write that asks for nothing else is no new generation, whatever its form', async (t) => {
  const old = podWith({ containers: [container('c', asks('100m', '64Mi')), container('d')] });
  const { pod, problems } = await change(old, (one) => {
    one.spec.containers[1]!.resources = {};
  });
  t.deepEqual(problems, []);
  t.is(pod.metadata.generation, 3);
});

test('limits may be added where there were none; a sidecar is resized like any other', async (t) => {
  const side = container('s', asks('10m', '16Mi'), { restartPolicy: 'Always' });
  const { pod, problems } = await change(podWith({ initContainers: [side] }), (one) => {
    one.spec.containers[0]!.resources = asks('100m', '64Mi', ['200m', '128Mi']);
    one.spec.initContainers![0]!.resources = asks('20m', '16Mi');
  });
  t.deepEqual(problems, []);
  t.is(pod.spec.initContainers![0]!.resources!.requests!['cpu'], '20m');
});

test('pod-level resources are resized too', async (t) => {
  const level = (cpu: string, memory = '1Gi'): ResourceRequirements => ({ requests: { cpu, memory } });
  const { pod, problems } = await change(podWith({ resources: level('1') }), (one) => {
    one.spec.resources = level('2');
  });
  t.deepEqual(problems, []);
  t.is(pod.spec.resources!.requests!['cpu'], '2');
  t.deepEqual(
    (
      await change(podWith({ resources: level('1') }), (one) => {
        one.spec.resources = { requests: { cpu: '1' } };
      })
    ).problems,
    ['spec.resources.requests: Forbidden: resource requests cannot be removed'],
  );
});

const plain = (cpu: string) => container('i', asks(cpu, '16Mi'));
const refused: [string, Partial<PodSpec>, (pod: Pod) => void, string[], Partial<Pod>?][] = [
  [
    'another QoS class',
    {},
    (pod) => {
      pod.spec.containers[0]!.resources = asks('200m', '64Mi', ['200m', '64Mi']);
    },
    ['spec: Invalid value: "Burstable": Pod QOS Class may not change as a result of resizing'],
  ],
  [
    'requests of a pod that asked for nothing',
    { containers: [container('c')] },
    (pod) => {
      pod.spec.containers[0]!.resources = { requests: { cpu: '1' } };
    },
    ['spec: Invalid value: "BestEffort": Pod QOS Class may not change as a result of resizing'],
  ],
  [
    'a limit taken away',
    { containers: [container('c', asks('100m', '64Mi', ['200m', '128Mi']))] },
    (pod) => {
      delete pod.spec.containers[0]!.resources!.limits!['memory'];
    },
    ['spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed'],
  ],
  [
    'a request taken away',
    {},
    (pod) => {
      delete pod.spec.containers[0]!.resources!.requests!['cpu'];
    },
    ['spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed'],
  ],
  [
    'other resources',
    {},
    (pod) => {
      pod.spec.containers[0]!.resources!.requests!['ephemeral-storage'] = '1Gi';
    },
    ['spec: Forbidden: only cpu and memory resources are mutable'],
  ],
  [
    'another resize policy',
    {},
    (pod) => {
      pod.spec.containers[0]!.resizePolicy = [{ resourceName: 'cpu', restartPolicy: 'RestartContainer' }];
    },
    ['spec: Forbidden: only cpu and memory resources are mutable'],
  ],
  [
    'a plain init container',
    { initContainers: [plain('10m')] },
    (pod) => {
      pod.spec.initContainers = [plain('20m')];
    },
    ['spec: Forbidden: resources for non-sidecar init containers are immutable'],
  ],
  [
    'containers in another order',
    { containers: [container('c', asks('1', '1Gi')), container('d')] },
    (pod) => {
      pod.spec.containers.reverse();
    },
    [0, 1].map((n) => `spec.containers[${n}].name: Forbidden: containers may not be renamed or reordered on resize`),
  ],
  [
    'one container more',
    {},
    (pod) => {
      pod.spec.containers.push(container('d'));
    },
    ['spec.containers: Forbidden: containers may not be added or removed on resize'],
  ],
  [
    'a request above its limit',
    { containers: [container('c', asks('100m', '64Mi', ['200m', '128Mi']))] },
    (pod) => {
      pod.spec.containers[0]!.resources!.requests!['cpu'] = '300m';
    },
    ['spec.containers[0].resources.requests: Invalid value: "300m": must be less than or equal to cpu limit of 200m'],
  ],
  [
    'a node that cannot',
    {},
    (pod) => {
      pod.spec.containers[0]!.resources = asks('200m', '64Mi');
    },
    ['spec: Forbidden: Pod running on node without support for resize'],
    {
      status: {
        containerStatuses: [
          { name: 'c', ready: true, restartCount: 0, image: 'x:1', imageID: '', state: { running: {} } },
        ],
      },
    },
  ],
];
for (const [what, spec, edit, expected, more] of refused)
  test(`resize is refused: ${what}`, async (t) => {
    t.deepEqual((await change(podWith(spec, more), edit)).problems, expected);
  });

test('resize is refused: a mirror pod', async (t) => {
  const old = podWith({});
  old.metadata.annotations = { 'kubernetes.io/config.mirror': 'h' };
  t.deepEqual((await change(old, () => {})).problems, [': Forbidden: static pods cannot be resized']);
});

import test from 'ava';
import type { ResizeConditions } from '../../../../agent/pods/ports.ts';
import { computePodStatus } from '../../../../agent/status/compute.ts';
import { diffPodStatus } from '../../../../agent/status/patch.ts';
import { podOf, resources } from '../pod.ts';
import { input, observed, run } from './cases.ts';

const noProbes = { startup: () => undefined, readiness: () => undefined };
const allocated = podOf(
  {
    containers: [{ name: 'app', image: 'i', resources: resources('2/4', '1Gi/2Gi') }],
    resources: { requests: { cpu: '3' }, limits: { cpu: '6' } },
  },
  { generation: 5 },
);
const status = (part: Parameters<typeof input>[1]) =>
  computePodStatus(input(allocated, part), noProbes, { hostIps: [] });

test('a running container shows what it was given, and what is set aside for it', (t) => {
  const actuated = () => resources('1/4', '1Gi/1Gi');
  const podActuated = { requests: { cpu: '2' }, limits: { cpu: '6' } };
  const shown = status({ runtime: observed([run('app')]), actuated, podActuated });
  t.deepEqual(shown.containerStatuses![0]!.resources, resources('1/4', '1Gi/1Gi'));
  t.deepEqual(shown.containerStatuses![0]!.allocatedResources, { cpu: '2', memory: '1Gi' });
  t.deepEqual(shown.resources, podActuated);
  t.deepEqual(shown.allocatedResources, { cpu: '3' });
  // What has ended has nothing: it would be started with what is allocated.
  const ended = status({ runtime: observed([run('app', { exit: 1 })]), actuated, podActuated });
  t.deepEqual(ended.containerStatuses![0]!.resources, resources('2/4', '1Gi/2Gi'));
  t.deepEqual(ended.resources, allocated.spec.resources);
});

test('conditions of a resize: of its own generation, and gone with it', (t) => {
  const resize: ResizeConditions = {
    pending: { reason: 'Deferred', message: 'no room', generation: 4 },
    inProgress: { generation: 3, error: 'refused' },
  };
  const runtime = observed([run('app')]);
  const during = status({ runtime, resize });
  const [pending, inProgress] = ['PodResizePending', 'PodResizeInProgress'].map(
    (type) => during.conditions!.find((one) => one.type === type)!,
  );
  t.like(pending!, { status: 'True', reason: 'Deferred', message: 'no room', observedGeneration: 4 });
  t.like(inProgress!, { status: 'True', reason: 'Error', message: 'refused', observedGeneration: 3 });
  const after = status({ runtime, previous: during });
  t.deepEqual(diffPodStatus('uid-1', during, after), {
    metadata: { uid: 'uid-1' },
    status: {
      conditions: [
        { type: 'PodResizePending', $patch: 'delete' },
        { type: 'PodResizeInProgress', $patch: 'delete' },
      ],
    },
  });
  const over = status({ runtime: observed([run('app', { exit: 1 })]), resize, terminal: true });
  t.false(over.conditions!.some(({ type }) => type.startsWith('PodResize')));
});

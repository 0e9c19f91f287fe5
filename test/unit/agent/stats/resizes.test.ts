import test from 'ava';
import { createResizeMetrics, requestedChanges } from '../../../../agent/stats/resizes.ts';
import { Registry } from '../../../../src/runtime/metrics.ts';
import { podOf, resources } from '../pod.ts';

const pod = (cpu: string, memory: string) =>
  podOf({ containers: [{ name: 'app', image: 'i', resources: resources(cpu, memory) }] });

test('what is asked of each container, amount by amount', (t) => {
  const changes = requestedChanges(pod('1/2', '1Gi'), pod('2/1', '1Gi/2Gi'));
  t.deepEqual(
    changes.map(({ resource, requirement, operation }) => `${resource} ${requirement} ${operation}`),
    ['cpu requests increase', 'cpu limits decrease', 'memory limits add'],
  );
});

test('series of resizes', async (t) => {
  const registry = new Registry();
  const metrics = createResizeMetrics(registry, () => ({ deferred: 2, infeasible: 1, inProgress: 3 }));
  metrics.requested(pod('1', '1Gi'), pod('2', '1Gi'));
  metrics.infeasible('static_pod');
  metrics.deferredAccepted('pod_terminated');
  metrics.actuated(15, true);
  const text = await registry.metrics();
  for (const line of [
    'kubelet_container_requested_resizes_total{resource="cpu",requirement="requests",operation="increase"} 1',
    'kubelet_pod_infeasible_resizes_total{reason_detail="static_pod"} 1',
    'kubelet_pod_deferred_accepted_resizes_total{retry_trigger="pod_terminated"} 1',
    'kubelet_pod_resize_duration_milliseconds_sum{success="true"} 15',
    'kubelet_pod_pending_resizes{reason="deferred"} 2',
    'kubelet_pod_pending_resizes{reason="infeasible"} 1',
    'kubelet_pod_in_progress_resizes 3',
  ])
    t.true(text.split('\n').includes(line), line);
});

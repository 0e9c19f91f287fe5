import type { Pod } from '../../src/kube/types.ts';
import { Counter, Gauge, Histogram, type Registry } from '../../src/runtime/metrics.ts';
import type { ResizeMetrics } from '../pods/resize/resizes.ts';
import { resizableContainers } from '../resources/allocation/pod-allocation.ts';
import { limitsOf, requestsOf } from '../resources/requests.ts';

/** Upstream's buckets: 10 ms, doubled to 45 minutes. */
const DURATION_BUCKETS_MS = Array.from({ length: 19 }, (_, index) => 10 * 2 ** index);

/** kubelet_*_resizes*: what is asked of running pods, and what becomes of it. */
export function createResizeMetrics(
  registry: Registry,
  counts: () => { deferred: number; infeasible: number; inProgress: number },
): ResizeMetrics {
  const registers = [registry];
  const requested = new Counter({
    name: 'kubelet_container_requested_resizes_total',
    help: 'Number of requested resizes, counted at the container level. Different resources on the same container are counted separately. The label resource is cpu or memory, requirement is limits or requests, operation is add, remove, increase or decrease.',
    labelNames: ['resource', 'requirement', 'operation'],
    registers,
  });
  const infeasible = new Counter({
    name: 'kubelet_pod_infeasible_resizes_total',
    help: 'Number of infeasible resizes for pods.',
    labelNames: ['reason_detail'],
    registers,
  });
  const deferredAccepted = new Counter({
    name: 'kubelet_pod_deferred_accepted_resizes_total',
    help: 'Cumulative number of resizes that were accepted after being deferred.',
    labelNames: ['retry_trigger'],
    registers,
  });
  const duration = new Histogram({
    name: 'kubelet_pod_resize_duration_milliseconds',
    help: 'Duration in milliseconds to actuate a pod resize',
    labelNames: ['success'],
    buckets: DURATION_BUCKETS_MS,
    registers,
  });
  new Gauge({
    name: 'kubelet_pod_pending_resizes',
    help: 'Number of pending resizes for pods.',
    labelNames: ['reason'],
    registers,
    collect() {
      const { deferred, infeasible: never } = counts();
      this.set({ reason: 'deferred' }, deferred);
      this.set({ reason: 'infeasible' }, never);
    },
  });
  new Gauge({
    name: 'kubelet_pod_in_progress_resizes',
    help: 'Number of in-progress resizes for pods.',
    registers,
    collect() {
      this.set(counts().inProgress);
    },
  });
  return {
    requested(allocated, asked) {
      for (const labels of requestedChanges(allocated, asked)) requested.inc(labels);
    },
    infeasible: (detail) => infeasible.inc({ reason_detail: detail }),
    deferredAccepted: (trigger) => deferredAccepted.inc({ retry_trigger: trigger }),
    actuated: (milliseconds, success) => duration.observe({ success: String(success) }, milliseconds),
  };
}

/** Every amount that differs, with what happens to it. */
export function requestedChanges(
  allocated: Pod,
  asked: Pod,
): { resource: string; requirement: string; operation: string }[] {
  const before = new Map(resizableContainers(allocated).map((container) => [container.name, container]));
  return resizableContainers(asked).flatMap(({ name, resources }) =>
    (['cpu', 'memory'] as const).flatMap((resource) =>
      (['requests', 'limits'] as const).flatMap((requirement) => {
        const amounts = requirement === 'limits' ? limitsOf : requestsOf;
        const then = amounts(before.get(name)?.resources)[resource] ?? 0;
        const now = amounts(resources)[resource] ?? 0;
        if (now === then) return [];
        const operation = now === 0 ? 'remove' : then === 0 ? 'add' : now > then ? 'increase' : 'decrease';
        return [{ resource, requirement, operation }];
      }),
    ),
  );
}

import type { Pod } from '../../src/kube/types.ts';
import { podRequests } from '../resources/requests.ts';
import type { PodStats } from '../stats/summary.ts';
import { type DiskLayout, partsOn } from './disk-layout.ts';
import { resourceOf, type Signal } from './signals.ts';
import { diskUsage } from './usage.ts';

/** By pod UID. */
export type PodStatsOf = (uid: string) => PodStats | undefined;

interface Candidate {
  pod: Pod;
  isMeasured: boolean;
  exceedsRequest: boolean;
  priority: number;
  /** Usage beyond the request, in the resource's unit; may be negative. */
  excess: number;
}

/**
 * Pods in the order in which they are to go for a starved signal, the first one first (upstream's order): those that nobody can measure,
 * those that use more than they asked for, the less important, the greedier. For processes only importance and number count. Pure.
 */
export function rankPods(pods: readonly Pod[], statsOf: PodStatsOf, signal: Signal, layout: DiskLayout): Pod[] {
  return pods
    .map((pod) => judge(pod, statsOf(pod.metadata.uid), signal, layout))
    .toSorted(resourceOf(signal) === 'pids' ? byImportance : byExcess)
    .map(({ pod }) => pod);
}

function judge(pod: Pod, stats: PodStats | undefined, signal: Signal, layout: DiskLayout): Candidate {
  const priority = pod.spec.priority ?? 0;
  if (!stats) return { pod, isMeasured: false, exceedsRequest: true, priority, excess: 0 };
  const { used, requested, relativeTo } = measure(pod, stats, signal, layout);
  return { pod, isMeasured: true, exceedsRequest: used > requested, priority, excess: used - relativeTo };
}

function measure(pod: Pod, stats: PodStats, signal: Signal, layout: DiskLayout) {
  const resource = resourceOf(signal);
  if (resource === 'pids')
    return { used: stats.process_stats?.process_count ?? 0, requested: Number.POSITIVE_INFINITY, relativeTo: 0 };
  const requests = podRequests(pod);
  if (resource === 'memory') {
    const requested = requests.memory ?? 0;
    return { used: stats.memory?.workingSetBytes ?? 0, requested, relativeTo: requested };
  }
  const { bytes, inodes } = diskUsage(pod, stats, partsOn(signal, layout));
  const requested = requests['ephemeral-storage'] ?? 0;
  if (resource === 'ephemeral-storage') return { used: bytes, requested, relativeTo: requested };
  // Nobody can request inodes. Upstream still takes the requested bytes off their number: who asked for disk goes last.
  return { used: inodes, requested: 0, relativeTo: requested };
}

const trueFirst = (a: boolean, b: boolean) => Number(b) - Number(a);

function byExcess(a: Candidate, b: Candidate): number {
  return (
    trueFirst(!a.isMeasured, !b.isMeasured) ||
    trueFirst(a.exceedsRequest, b.exceedsRequest) ||
    a.priority - b.priority ||
    b.excess - a.excess
  );
}

function byImportance(a: Candidate, b: Candidate): number {
  return a.priority - b.priority || trueFirst(!a.isMeasured, !b.isMeasured) || b.excess - a.excess;
}

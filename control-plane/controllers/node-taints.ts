import type { Node, Taint } from '../../src/kube/types.ts';
import { timestamp } from '../../src/runtime/clock.ts';

export const NOT_READY = 'node.kubernetes.io/not-ready';
export const UNREACHABLE = 'node.kubernetes.io/unreachable';
const UNSCHEDULABLE = 'node.kubernetes.io/unschedulable';

/** Which NoSchedule taint a condition stands for, by the condition's status. */
const TAINTS_OF_CONDITION: Record<string, Record<string, string>> = {
  Ready: { False: NOT_READY, Unknown: UNREACHABLE },
  MemoryPressure: { True: 'node.kubernetes.io/memory-pressure' },
  DiskPressure: { True: 'node.kubernetes.io/disk-pressure' },
  NetworkUnavailable: { True: 'node.kubernetes.io/network-unavailable' },
  PIDPressure: { True: 'node.kubernetes.io/pid-pressure' },
};

/** The keys of NoSchedule taints that node conditions own; taints of people are never touched. */
const CONDITION_KEYS = new Set([
  ...Object.values(TAINTS_OF_CONDITION).flatMap((byStatus) => Object.values(byStatus)),
  UNSCHEDULABLE,
]);

export function readyStatus(node: Node): 'True' | 'False' | 'Unknown' | undefined {
  return node.status?.conditions?.find(({ type }) => type === 'Ready')?.status as 'True' | undefined;
}

/** The NoExecute taint that a node's readiness asks for; undefined for one that is ready, or has never told. */
export function evictionTaintKey(node: Node): string | undefined {
  return TAINTS_OF_CONDITION['Ready']![readyStatus(node) ?? ''];
}

/**
 * The taints that a node should have: NoSchedule ones from its conditions and spec.unschedulable, NoExecute ones from its
 * readiness if `mayEvict`. A NoExecute taint that is there already stays although no new one may be added, unless
 * `isDisrupted` (no node is ready: the trouble is more likely ours than theirs). Readiness taints of a node that has not
 * told its readiness yet (set at its registration) and all other taints stay as they are.
 */
export function computeTaints(node: Node, facts: { mayEvict: boolean; isDisrupted: boolean; nowMs: number }): Taint[] {
  const taints = node.spec?.taints ?? [];
  const wanted = new Set<string>();
  for (const { type, status } of node.status?.conditions ?? []) {
    const key = TAINTS_OF_CONDITION[type]?.[status];
    if (key) wanted.add(key);
  }
  if (node.spec?.unschedulable) wanted.add(UNSCHEDULABLE);
  const evictKey = evictionTaintKey(node);
  const isReadiness = ({ key }: Taint) => key === NOT_READY || key === UNREACHABLE;
  const isEvicting = (taint: Taint) => taint.effect === 'NoExecute' && isReadiness(taint);
  const wasEvicting = taints.some(isEvicting);

  const kept = taints.filter((taint) => {
    if (isReadiness(taint) && readyStatus(node) === undefined) return true;
    if (isEvicting(taint)) return taint.key === evictKey && !facts.isDisrupted;
    return taint.effect !== 'NoSchedule' || !CONDITION_KEYS.has(taint.key) || wanted.has(taint.key);
  });
  const has = (key: string, effect: string) => kept.some((taint) => taint.key === key && taint.effect === effect);
  const added: Taint[] = [];
  for (const key of wanted)
    if (!has(key, 'NoSchedule')) added.push({ key, effect: 'NoSchedule', timeAdded: timestamp(facts.nowMs) });
  if (evictKey && !facts.isDisrupted && (facts.mayEvict || wasEvicting) && !has(evictKey, 'NoExecute'))
    added.push({ key: evictKey, effect: 'NoExecute', timeAdded: timestamp(facts.nowMs) });
  return [...kept, ...added];
}

/** Equal as a set of key, value and effect. */
export function sameTaints(a: readonly Taint[], b: readonly Taint[]): boolean {
  const keys = (taints: readonly Taint[]) => taints.map(({ key, value, effect }) => `${key}=${value ?? ''}:${effect}`);
  return [...keys(a)].sort().join() === [...keys(b)].sort().join();
}

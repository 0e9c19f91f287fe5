import type { Lease, Node, NodeCondition } from '../../src/kube/types.ts';
import { timestamp } from '../../src/runtime/clock.ts';

/** What a node last told of itself, and when we noticed: judged by our clock only, since nodes' clocks differ. */
export interface NodeSighting {
  renewTime?: string;
  heartbeat?: string;
  /** Monotonic milliseconds of the last change of either. */
  changedAtMs: number;
}

/** The sighting after a look at lease and node. */
export function updateSighting(
  before: NodeSighting | undefined,
  node: Node,
  lease: Lease | undefined,
  monotonicMs: number,
): NodeSighting {
  const renewTime = lease?.spec?.renewTime;
  const heartbeat = node.status?.conditions?.find(({ type }) => type === 'Ready')?.lastHeartbeatTime;
  const isNew = !before || before.renewTime !== renewTime || before.heartbeat !== heartbeat;
  return { renewTime, heartbeat, changedAtMs: isNew ? monotonicMs : before.changedAtMs };
}

/** The conditions whose truth only the node itself can tell. */
const REPORTED_CONDITIONS = ['Ready', 'MemoryPressure', 'DiskPressure', 'PIDPressure'];

/** The conditions of a node that has been silent for too long: all that it reports become Unknown. */
export function silentConditions(node: Node, nowMs: number): NodeCondition[] {
  const conditions = node.status?.conditions ?? [];
  const now = timestamp(nowMs);
  const unknown = REPORTED_CONDITIONS.map((type): NodeCondition => {
    const before = conditions.find((condition) => condition.type === type);
    if (before?.status === 'Unknown') return before;
    const told = before
      ? { reason: 'NodeStatusUnknown', message: 'Kubelet stopped posting node status.' }
      : { reason: 'NodeStatusNeverUpdated', message: 'Kubelet never posted node status.' };
    const lastHeartbeatTime = before?.lastHeartbeatTime ?? node.metadata.creationTimestamp;
    return { type, status: 'Unknown', ...told, lastHeartbeatTime, lastTransitionTime: now };
  });
  const replaced = conditions.map((condition) => unknown.find(({ type }) => type === condition.type) ?? condition);
  const missing = unknown.filter(({ type }) => !conditions.some((condition) => condition.type === type));
  return [...replaced, ...missing];
}

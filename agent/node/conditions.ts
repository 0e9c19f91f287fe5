import type { NodeCondition } from '../../src/kube/types.ts';

export interface NodeHealth {
  /** Reasons against Ready, in order; empty: ready. */
  problems: readonly string[];
  memoryPressure: boolean;
  diskPressure: boolean;
  pidPressure: boolean;
}

interface Wording {
  type: string;
  reasons: { True: string; False: string };
  messages: { True: string; False: string };
}

const PRESSURES: (Wording & { of: (health: NodeHealth) => boolean })[] = [
  {
    type: 'MemoryPressure',
    reasons: { True: 'KubeletHasInsufficientMemory', False: 'KubeletHasSufficientMemory' },
    messages: { True: 'kubelet has insufficient memory available', False: 'kubelet has sufficient memory available' },
    of: (health) => health.memoryPressure,
  },
  {
    type: 'DiskPressure',
    reasons: { True: 'KubeletHasDiskPressure', False: 'KubeletHasNoDiskPressure' },
    messages: { True: 'kubelet has disk pressure', False: 'kubelet has no disk pressure' },
    of: (health) => health.diskPressure,
  },
  {
    type: 'PIDPressure',
    reasons: { True: 'KubeletHasInsufficientPID', False: 'KubeletHasSufficientPID' },
    messages: { True: 'kubelet has insufficient PID available', False: 'kubelet has sufficient PID available' },
    of: (health) => health.pidPressure,
  },
];

/** The four conditions in their order, with the times of the last changes taken over from before. Pure. */
export function computeNodeConditions(
  health: NodeHealth,
  before: readonly NodeCondition[] | undefined,
  now: string,
): NodeCondition[] {
  const condition = (type: string, value: boolean, reason: string, message: string): NodeCondition => {
    const status = value ? 'True' : 'False';
    const old = before?.find((one) => one.type === type);
    const lastTransitionTime = old?.status === status ? (old.lastTransitionTime ?? now) : now;
    return { type, status, lastHeartbeatTime: now, lastTransitionTime, reason, message };
  };
  const pressures = PRESSURES.map(({ type, reasons, messages, of }) => {
    const key = of(health) ? 'True' : 'False';
    return condition(type, of(health), reasons[key], messages[key]);
  });
  const { problems } = health;
  const ready = problems.length === 0;
  const message = problems.length > 1 ? `[${problems.join(', ')}]` : (problems[0] ?? 'kubelet is posting ready status');
  return [...pressures, condition('Ready', ready, ready ? 'KubeletReady' : 'KubeletNotReady', message)];
}

/** Reasons of the node events that go with changes of conditions (`Node n status is now: <reason>`). */
export function conditionEvents(
  before: readonly NodeCondition[] | undefined,
  after: readonly NodeCondition[],
): string[] {
  const names: Record<string, [whenTrue: string, whenFalse: string]> = {
    MemoryPressure: ['NodeHasInsufficientMemory', 'NodeHasSufficientMemory'],
    DiskPressure: ['NodeHasDiskPressure', 'NodeHasNoDiskPressure'],
    PIDPressure: ['NodeHasInsufficientPID', 'NodeHasSufficientPID'],
    Ready: ['NodeReady', 'NodeNotReady'],
  };
  return after.flatMap(({ type, status }) => {
    const old = before?.find((one) => one.type === type)?.status;
    const pair = names[type];
    if (!pair || old === status) return [];
    // A node that begins unready is no news; its readiness is.
    if (old === undefined && type === 'Ready' && status === 'False') return [];
    return [status === 'True' ? pair[0] : pair[1]];
  });
}

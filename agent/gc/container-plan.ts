import type { ContainerRuntimeStatus, PodRuntimeStatus, SandboxStatus } from '../pods/ports.ts';

/** How many ended containers stay; upstream's flags of these names. */
export interface ContainerGcPolicy {
  /** `--maximum-dead-containers-per-container`: of each container of a pod; negative: any number. */
  maximumPerContainer: number;
  /** `--maximum-dead-containers`: on the whole node; negative: any number. */
  maximumTotal: number;
  /** `--minimum-container-ttl-duration`: one that was seen ended less than this ago stays. */
  minimumAgeMs: number;
}

/** A pod as far as the collection of its containers goes. */
export interface PodRemains {
  runtime: PodRuntimeStatus;
  /** Its last container has ended for good; its object may stand for long. */
  isOver: boolean;
  /** When each ended container was first seen so; monotonic milliseconds. */
  endedSinceMs(id: string): number;
}

export interface DeadContainer {
  uid: string;
  container: ContainerRuntimeStatus;
}

export interface DeadSandbox {
  runtime: PodRuntimeStatus;
  sandbox: SandboxStatus;
}

/** How many ended runs the plan of a running pod leaves behind at once; with an age to be waited for, all: the collection removes them. */
export function keptEndedRuns({ maximumPerContainer, minimumAgeMs }: ContainerGcPolicy): number {
  if (maximumPerContainer < 0 || minimumAgeMs > 0) return Number.POSITIVE_INFINITY;
  return Math.max(1, maximumPerContainer);
}

/**
 * The ended containers that go, oldest first. While a pod is not over its newest run of each container stays, whatever the limits say:
 * whether it may start again is decided by it (upstream removes it, and runs again what was to run once).
 * @param all those of pods that are over too: room is needed more than their logs
 */
export function selectDeadContainers(
  pods: readonly PodRemains[],
  policy: ContainerGcPolicy,
  nowMs: number,
  all = false,
): DeadContainer[] {
  const going: DeadContainer[] = [];
  const staying: { dead: DeadContainer; isNeeded: boolean }[] = [];
  const limit = policy.maximumPerContainer < 0 ? Number.POSITIVE_INFINITY : policy.maximumPerContainer;
  for (const { runtime, isOver, endedSinceMs } of pods)
    for (const runs of Map.groupBy(runtime.containers, ({ name }) => name).values()) {
      // Newest first.
      const ended = runs.filter(({ state }) => state === 'exited');
      for (const [index, container] of ended.entries()) {
        if (nowMs - endedSinceMs(container.id) < policy.minimumAgeMs) continue;
        const dead = { uid: runtime.uid, container };
        const isNeeded = !isOver && container === runs[0];
        if ((all && isOver) || (index >= limit && !isNeeded)) going.push(dead);
        else staying.push({ dead, isNeeded });
      }
    }
  if (policy.maximumTotal >= 0) going.push(...beyondTotal(staying, policy.maximumTotal));
  return going.sort((a, b) => ageOf(b) - ageOf(a));
}

/** The oldest go first. */
function beyondTotal(staying: { dead: DeadContainer; isNeeded: boolean }[], maximum: number): DeadContainer[] {
  return staying
    .filter(({ isNeeded }) => !isNeeded)
    .map(({ dead }) => dead)
    .sort((a, b) => ageOf(b) - ageOf(a))
    .slice(0, Math.max(0, staying.length - maximum));
}

const ageOf = ({ container }: DeadContainer) => -(container.finishedAtMs ?? container.createdAtMs);

/** Sandboxes that have ended, hold no container, and are not the newest of a pod that is not over. */
export function selectDeadSandboxes(pods: readonly PodRemains[]): DeadSandbox[] {
  return pods.flatMap(({ runtime, isOver }) => {
    const holding = new Set(runtime.containers.map(({ sandboxId }) => sandboxId));
    return runtime.sandboxes
      .filter(({ id, state }, index) => state === 'exited' && !holding.has(id) && (isOver || index > 0))
      .map((sandbox) => ({ runtime, sandbox }));
  });
}

import type { Clock } from '../../src/runtime/clock.ts';
import type { NetworkStatus } from '../pods/ports.ts';
import type { NodeResources } from '../resources/node-resources.ts';
import type { RuntimeMonitor } from './runtime-monitor.ts';

export interface ReadinessInput {
  runtime: Pick<RuntimeMonitor, 'problem'>;
  network: () => NetworkStatus;
  /** When the pod workers last saw all of the runtime; undefined before the first time. */
  lastRelistMonotonicMs: () => number | undefined;
  capacity: NodeResources;
  /** Reason against Ready while the node shuts down. */
  shutdownProblem?: () => string | undefined;
  clock: Pick<Clock, 'monotonicMs'>;
}

const RELIST_THRESHOLD_MS = 180_000;

/** Reasons against Ready, in upstream's words and order; none: the node is ready. */
export function findProblems(input: ReadinessInput): string[] {
  return [
    input.runtime.problem(),
    relistProblem(input),
    networkProblem(input.network()),
    capacityProblem(input.capacity),
    input.shutdownProblem?.(),
  ].filter((problem) => problem !== undefined);
}

function relistProblem({ lastRelistMonotonicMs, clock }: ReadinessInput): string | undefined {
  const relistMs = lastRelistMonotonicMs();
  if (relistMs === undefined) return 'PLEG is not healthy: pleg has yet to be successful';
  const silentMs = clock.monotonicMs() - relistMs;
  return silentMs > RELIST_THRESHOLD_MS
    ? `PLEG is not healthy: pleg was last seen active ${seconds(silentMs)} ago; threshold is 3m0s`
    : undefined;
}

function networkProblem(network: NetworkStatus): string | undefined {
  return network.ready
    ? undefined
    : `container runtime network not ready: NetworkReady=false reason:${network.reason} message:${network.message}`;
}

/** What no node can do without, where it could not be read. */
function capacityProblem({ cpuMillis, memoryBytes, ephemeralStorageBytes }: NodeResources): string | undefined {
  const amounts = { cpu: cpuMillis, memory: memoryBytes, 'ephemeral-storage': ephemeralStorageBytes };
  const missing = Object.entries(amounts).flatMap(([name, amount]) => (amount > 0 ? [] : [name]));
  return missing.length > 0 ? `missing node capacity for resources: ${missing.join(', ')}` : undefined;
}

/** `185000` → `3m5s`. */
function seconds(ms: number): string {
  const whole = Math.round(ms / 1000);
  return whole >= 60 ? `${Math.floor(whole / 60)}m${whole % 60}s` : `${whole}s`;
}

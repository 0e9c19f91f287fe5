import type { Container, Pod } from '../../src/kube/types.ts';
import { containerHash } from '../containers/hash.ts';
import type { ContainerRuntimeStatus, PodRuntimeStatus, ProbeResult } from './ports.ts';

export interface ContainerKill {
  id: string;
  name: string;
  /** The Killing event's text. */
  message: string;
  /** A failed liveness or startup probe brings its own grace period. */
  probe?: 'liveness' | 'startup';
}

export interface ContainerStart {
  name: string;
  kind: 'init' | 'regular';
  /** Restart count of the container to be made. */
  attempt: number;
  /** When the newest run ended; the crash back-off counts from here. Undefined for a first start. */
  finishedAtMs?: number;
}

export interface PodPlanInput {
  pod: Pod;
  runtime: PodRuntimeStatus;
  nowMs: number;
  liveness(containerId: string): ProbeResult | undefined;
  startup(containerId: string): ProbeResult | undefined;
  /** Crash back-off of a container that finished at that time; undefined: may start. */
  crashDelay(container: string, hash: string, finishedAtMs: number): { untilMs: number; delayMs: number } | undefined;
}

/** The newest run of a container. */
export function newestOf(runtime: PodRuntimeStatus, name: string): ContainerRuntimeStatus | undefined {
  return runtime.containers.find((container) => container.name === name);
}

/** Whether the spec now differs from what the container was made from. */
export function isChanged(container: Container, record: ContainerRuntimeStatus): boolean {
  return record.hash !== '' && record.hash !== containerHash(container);
}

/** The start of the next run after the newest record. */
export function startOf(
  container: Container,
  kind: ContainerStart['kind'],
  record: ContainerRuntimeStatus | undefined,
): ContainerStart {
  return {
    name: container.name,
    kind,
    attempt: nextAttempt(record),
    ...(record?.state === 'exited' && { finishedAtMs: record.finishedAtMs ?? record.createdAtMs }),
  };
}

/** A container that was made but never started did not run: its number is used again. */
function nextAttempt(record: ContainerRuntimeStatus | undefined): number {
  if (!record) return 0;
  return record.state === 'created' ? record.restartCount : record.restartCount + 1;
}

import type { Container, EphemeralContainer, Pod, PodStatus, ResourceRequirements } from '../../src/kube/types.ts';
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

/** A running container that is to be given other resources. */
export interface ContainerUpdate {
  id: string;
  name: string;
}

export interface ContainerStart {
  name: string;
  kind: 'init' | 'regular' | 'ephemeral';
  /** Restart count of the container to be made. */
  attempt: number;
  /** Its earlier run is known from the published status alone: the Engine is asked first whether it is really gone. */
  isAfterLoss?: true;
  /** When the newest run ended; the crash back-off counts from here. Undefined for a first start. */
  finishedAtMs?: number;
}

export interface PodPlanInput {
  pod: Pod;
  runtime: PodRuntimeStatus;
  /** What was published last: counts the runs of containers whose records are gone. */
  status?: PodStatus;
  /** How many ended runs of a container stay beside a newer one; 1. */
  keptEndedRuns?: number;
  nowMs: number;
  liveness(containerId: string): ProbeResult | undefined;
  startup(containerId: string): ProbeResult | undefined;
  /** What a running container was given; undefined: what the pod says. */
  actuated?(container: string): ResourceRequirements | undefined;
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

/** The end of a container whose resizePolicy wants a restart (upstream's words). */
export function resizeKill({ id, name }: ContainerRuntimeStatus): ContainerKill {
  return { id, name, message: `Container ${name} resize requires restart` };
}

/** The start of the next run after the newest record. */
export function startOf(
  container: Pick<Container | EphemeralContainer, 'name'>,
  kind: ContainerStart['kind'],
  record: ContainerRuntimeStatus | undefined,
  status?: PodStatus,
): ContainerStart {
  const attempt = record ? nextAttempt(record) : attemptAfterLoss(container.name, kind, status);
  return {
    name: container.name,
    kind,
    attempt,
    ...(!record && attempt > 0 && { isAfterLoss: true }),
    ...(record?.state === 'exited' && { finishedAtMs: record.finishedAtMs ?? record.createdAtMs }),
  };
}

/** A container that was made but never started did not run: its number is used again. */
function nextAttempt(record: ContainerRuntimeStatus): number {
  return record.state === 'created' ? record.restartCount : record.restartCount + 1;
}

/** Without a record (purged with its sandbox, reset, removed by somebody) the published status goes on counting. */
function attemptAfterLoss(name: string, kind: ContainerStart['kind'], status: PodStatus | undefined): number {
  const statuses = kind === 'init' ? status?.initContainerStatuses : status?.containerStatuses;
  const last = statuses?.find((one) => one.name === name);
  if (!last) return 0;
  const hasRun = last.state?.running !== undefined || last.state?.terminated !== undefined;
  return hasRun ? last.restartCount + 1 : last.restartCount;
}

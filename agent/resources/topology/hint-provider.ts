import type { Container, Pod } from '../../../src/kube/types.ts';
import type { NumaMask } from './numa-mask.ts';

/** Where one resource of a container could come from. */
export interface TopologyHint {
  /** undefined: from anywhere, the provider does not mind. */
  readonly numaNodes?: NumaMask;
  /** False: it can be had there, but elsewhere (or on another day) fewer nodes would do. */
  readonly preferred: boolean;
}

/**
 * Hints by resource name. A resource with `undefined` has no preference; one with an empty list can be had nowhere.
 * An empty map: this provider has nothing to say of the container.
 */
export type ResourceHints = ReadonlyMap<string, readonly TopologyHint[] | undefined>;

/** What the topology manager aligns: exclusive CPUs, memory, devices. One pod is admitted at a time. */
export interface HintProvider {
  readonly name: string;
  /** What this container could get now; what it holds already (a restart of the agent, or of the container) counts as free for it. */
  hints(pod: Pod, container: Container): ResourceHints;
  /** The same for all containers of the pod together: `topologyManagerScope: pod`. */
  podHints(pod: Pod): ResourceHints;
  /**
   * Takes the resources, from within `affinity` where that can be. Idempotent: what the container holds, it keeps.
   * @throws AllocationError when they cannot be had.
   */
  allocate(pod: Pod, container: Container, affinity: TopologyHint): Promise<void> | void;
  /** Gives back what the pod (or that container of it) holds. Idempotent. */
  remove(uid: string, container?: string): void;
  /** UIDs of pods that hold something: what is held by pods that are gone is taken back. */
  holders?(): Iterable<string>;
}

/** A pod is not admitted, since a container of it cannot be given what it asks for. */
export class AllocationError extends Error {
  override readonly name = 'AllocationError';
  /** The pod's status reason; upstream's unless a provider names another one. */
  readonly reason: string;
  constructor(message: string, options: { reason?: string; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.reason = options.reason ?? 'UnexpectedAdmissionError';
  }
}

/** What the managers decided for one container, as the Engine is to be told. */
export interface ContainerAssignments {
  /** CPUs, as the kernel writes lists: `0-1,4`. */
  cpusetCpus?: string;
  /** NUMA nodes whose memory is used, the same way. */
  cpusetMems?: string;
  /** The CPUs are the container's own: no quota on top. */
  quotaOff?: boolean;
}

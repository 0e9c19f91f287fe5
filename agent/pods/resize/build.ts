import type { DockerEngine } from '../../../src/docker/engine.ts';
import type { Pod } from '../../../src/kube/types.ts';
import type { Clock } from '../../../src/runtime/clock.ts';
import type { Logger } from '../../../src/runtime/log.ts';
import { Registry } from '../../../src/runtime/metrics.ts';
import { createSerial } from '../../../src/runtime/serial.ts';
import { type Allocations, createAllocations } from '../../resources/allocation/allocations.ts';
import { createResizeMetrics } from '../../stats/resizes.ts';
import type { EventSink } from '../ports.ts';
import type { PodResources } from '../resource-ports.ts';
import type { PodWork } from '../work.ts';
import { createResizeActuator } from './actuate.ts';
import type { ResizingNode } from './decision.ts';
import { createResizes } from './resizes.ts';

export interface ResizingDependencies {
  docker: Pick<DockerEngine, 'updateContainer'>;
  resources: PodResources;
  /** Absent: nothing outlives the process. */
  allocations?: Allocations;
  /** Absent: whatever is asked for. */
  resizingNode?(): ResizingNode;
  works(): PodWork[];
  others(work: PodWork): Pod[];
  poke(uid: string): void;
  events: EventSink;
  registry?: Registry;
  clock: Clock;
  log: Logger;
}

const UNLIMITED_NODE: ResizingNode = {
  cpuMillis: Number.POSITIVE_INFINITY,
  memoryBytes: Number.POSITIVE_INFINITY,
  cpuManagerIsStatic: false,
  memoryManagerIsStatic: false,
  maySwap: () => false,
};

/** What pods were given, and how that changes while they run. Decisions about the node's resources are made one at a time. */
export function buildResizing(deps: ResizingDependencies) {
  const allocations = deps.allocations ?? createAllocations();
  const oneAtATime = createSerial();
  const metrics = createResizeMetrics(deps.registry ?? new Registry(), () => resizes.counts());
  const node = deps.resizingNode ?? (() => UNLIMITED_NODE);
  const resizes = createResizes({ ...deps, allocations, oneAtATime, node, metrics });
  return { allocations, oneAtATime, resizes, actuator: createResizeActuator({ ...deps, allocations, metrics }) };
}

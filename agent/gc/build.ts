import { statfs } from 'node:fs/promises';
import type { DockerEngine } from '../../src/docker/engine.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Heartbeats } from '../../src/runtime/heartbeat.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { Registry } from '../../src/runtime/metrics.ts';
import type { ImageParts } from '../images/image-parts.ts';
import { createGarbageCollector, type GarbageCollector } from './collector.ts';
import { type ContainerCollectorDependencies, createContainerCollector } from './container-collector.ts';
import type { ContainerGcPolicy } from './container-plan.ts';
import { createImageCollector } from './image-collector.ts';
import type { FileSystemSpace, ImageGcPolicy } from './image-plan.ts';
import type { NodeEvent } from './node-event.ts';

export interface GarbageCollectionOptions {
  pauseImage: string;
  imageGc: ImageGcPolicy;
  containerGc: ContainerGcPolicy;
  /** The Engine has other users: only images that this agent has pulled are its own to remove (ADR 27). */
  sharesEngine: boolean;
}

export interface GarbageCollectionDependencies extends Omit<ContainerCollectorDependencies, 'work'> {
  docker: DockerEngine;
  imageParts: Pick<ImageParts, 'isPulledHere' | 'recover'>;
  work: ContainerCollectorDependencies['work'];
  /** Where the Engine keeps images; asked for when it has answered. */
  engineRoot(): string;
  nodeEvent?: NodeEvent;
  registry?: Registry;
  heartbeats?: Heartbeats;
  clock: Clock;
  log: Logger;
}

/** Puts garbage collection together; nothing runs yet. */
export function buildGarbageCollection(
  options: GarbageCollectionOptions,
  deps: GarbageCollectionDependencies,
): GarbageCollector & { touchImage(imageId: string): void } {
  const { imageParts, log } = deps;
  const nodeEvent: NodeEvent =
    deps.nodeEvent ?? ((type, reason, message) => log[type === 'Warning' ? 'warn' : 'info']({ reason }, message));
  const images = createImageCollector(options.imageGc, options.pauseImage, {
    ...deps,
    nodeEvent,
    registry: deps.registry ?? new Registry(),
    imageSpace: () => spaceOf(deps.engineRoot()),
    mayRemove: async (id) => !options.sharesEngine || imageParts.isPulledHere(id),
  });
  const containers = createContainerCollector(options.containerGc, deps);
  return { ...createGarbageCollector({ ...deps, nodeEvent, images, containers }), touchImage: images.touch };
}

async function spaceOf(path: string): Promise<FileSystemSpace> {
  const { bsize, blocks, bavail } = await statfs(path);
  return { capacityBytes: bsize * blocks, availableBytes: bsize * bavail };
}

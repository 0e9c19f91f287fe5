import type { Clock } from '../../src/runtime/clock.ts';
import type { Heartbeats } from '../../src/runtime/heartbeat.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { createSerial } from '../../src/runtime/serial.ts';
import type { ContainerCollector } from './container-collector.ts';
import type { ImageCollector } from './image-collector.ts';
import type { NodeEvent } from './node-event.ts';
import type { Reclaim } from './reclaim.ts';

/** Upstream's periods. */
const CONTAINERS_MS = 60_000;
const IMAGES_MS = 5 * 60_000;
/** A round takes as long as the Engine takes to delete; silent for so long, it hangs. */
const SILENCE_MS = 30 * 60_000;

export interface GarbageCollectorDependencies {
  images: ImageCollector;
  containers: ContainerCollector;
  nodeEvent: NodeEvent;
  heartbeats?: Heartbeats;
  clock: Clock;
  log: Logger;
}

export interface GarbageCollector {
  /** For whoever is short of room; waits for a round under way, and never runs beside one. */
  reclaim: Reclaim;
  /** One round of containers and sandboxes now; what went wrong is told, not thrown. */
  collectContainers(signal: AbortSignal): Promise<void>;
  /** Containers every minute, images every five, from the first sight of what there is on. */
  run(signal: AbortSignal): Promise<void>;
}

export function createGarbageCollector(deps: GarbageCollectorDependencies): GarbageCollector {
  const { images, containers, nodeEvent, clock, log } = deps;
  const oneAtATime = createSerial();
  let hasFailed = false;

  /** An image that came between two collections would be as young as can be when room is needed. */
  async function lookAtImages(signal: AbortSignal): Promise<void> {
    await oneAtATime(() => images.look(signal)).catch((error) => {
      if (!signal.aborted) log.debug({ err: error }, 'images could not be listed');
    });
  }

  async function collectContainers(signal: AbortSignal): Promise<void> {
    try {
      await oneAtATime(() => containers.collect(signal));
    } catch (error) {
      if (signal.aborted) return;
      log.warn({ err: error }, 'garbage collection of containers failed');
      nodeEvent('Warning', 'ContainerGCFailed', String((error as Error).message));
    }
  }

  async function collectImages(signal: AbortSignal): Promise<void> {
    try {
      await oneAtATime(() => images.collect(signal));
      hasFailed = false;
    } catch (error) {
      if (signal.aborted) return;
      log.warn({ err: error }, 'garbage collection of images failed');
      // The first time may be bad luck; as upstream, people hear of it from the second time in a row on.
      if (hasFailed) nodeEvent('Warning', 'ImageGCFailed', String((error as Error).message));
      hasFailed = true;
    }
  }

  async function repeat(
    name: string,
    periodMs: number,
    round: (signal: AbortSignal) => Promise<void>,
    signal: AbortSignal,
  ) {
    const beat = deps.heartbeats?.register(name, SILENCE_MS);
    while (!signal.aborted) {
      await round(signal);
      beat?.();
      await clock.sleep(periodMs, signal).catch(() => {});
    }
  }

  return {
    collectContainers,
    reclaim: {
      deleteUnusedImages: (signal) => oneAtATime(() => images.removeUnused(signal)),
      async deleteDeadContainers(signal) {
        await oneAtATime(() => containers.collect(signal, true)).catch((error) => {
          signal.throwIfAborted();
          log.warn({ err: error }, 'some ended containers could not be removed');
        });
      },
    },
    async run(signal) {
      await Promise.all([
        repeat('container garbage collection', CONTAINERS_MS, collectContainers, signal),
        repeat('look at images', CONTAINERS_MS, lookAtImages, signal),
        repeat('image garbage collection', IMAGES_MS, collectImages, signal),
      ]);
    },
  };
}

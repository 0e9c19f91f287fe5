import { join } from 'node:path';
import { type KernelEvents, openKernelEvents } from '../../src/linux/kernel-events.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { readCgroupLevel, readNodeLevel } from './memory-levels.ts';
import {
  createEventsNotifier,
  createPressureNotifier,
  createUsageNotifier,
  type MemoryNotifier,
} from './memory-notifier.ts';
import { createMemoryWatch, type MemoryWatch, type WatchedMemory } from './memory-watch.ts';
import { isHard, type Threshold } from './thresholds.ts';

export interface MemoryGuardOptions {
  thresholds: readonly Threshold[];
  cgroupVersion: 1 | 2;
  /** Root of the memory controller's hierarchy. */
  rootDirectory: string;
  /** Directory of `kubepods` in it. */
  podsDirectory: string;
  /** False: only files are read, the kernel is asked for nothing (kernelMemcgNotification). */
  notifications: boolean;
}

/** Watches the memory that hard thresholds speak of; soft ones have time until the next regular look. */
export function createMemoryGuard(
  options: MemoryGuardOptions,
  deps: { onLow(): void; clock: Clock; log: Logger },
): { run(signal: AbortSignal): Promise<void> } {
  const { cgroupVersion: version, rootDirectory, podsDirectory } = options;
  const hard = (signal: string) => options.thresholds.find((one) => one.signal === signal && isHard(one));
  const kinds: [Threshold | undefined, WatchedMemory['name'], string, WatchedMemory['read']][] = [
    [hard('memory.available'), 'node', rootDirectory, () => readNodeLevel(rootDirectory, version)],
    [hard('allocatableMemory.available'), 'pods', podsDirectory, () => readCgroupLevel(podsDirectory, version)],
  ];

  return {
    async run(signal) {
      const kernel = options.notifications ? openKernelEvents() : undefined;
      const all: MemoryNotifier[] = [];
      const watched = kinds.flatMap(([threshold, name, directory, read]): WatchedMemory[] => {
        if (!threshold) return [];
        const notifiers = kernel ? openNotifiers(name, directory, version, kernel, () => memory.check(), deps.log) : [];
        all.push(...notifiers);
        const arm = (usageBytes: number) => {
          for (const notifier of notifiers) notifier.arm(usageBytes);
        };
        return [{ name, threshold: threshold.value, read, arm }];
      });
      const memory: MemoryWatch = createMemoryWatch(watched, deps);
      try {
        await Promise.all([memory.run(signal), kernel?.run(signal)]);
      } finally {
        for (const notifier of all) notifier.close();
        kernel?.close();
      }
    },
  };
}

/** Whatever this kernel can tell of. What it cannot is read all the same, only a little later. */
function openNotifiers(
  name: string,
  directory: string,
  version: 1 | 2,
  kernel: KernelEvents,
  onEvent: () => void,
  log: Logger,
): MemoryNotifier[] {
  const pressureFile = name === 'node' ? '/proc/pressure/memory' : join(directory, 'memory.pressure');
  const kinds: (() => MemoryNotifier)[] =
    version === 1
      ? [() => createUsageNotifier(directory, kernel, onEvent)]
      : [() => createPressureNotifier(pressureFile, kernel, onEvent)];
  if (version === 2 && name !== 'node') kinds.push(() => createEventsNotifier(directory, kernel, onEvent));
  return kinds.flatMap((open) => {
    try {
      return [open()];
    } catch (error) {
      log.info({ memory: name, err: error }, 'this kernel does not tell when memory gets short');
      return [];
    }
  });
}

import { closeSync, openSync, readSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { drainEventfd, EPOLLIN, EPOLLPRI, type KernelEvents, openEventfd } from '../../src/linux/kernel-events.ts';

/** Something in the kernel that tells of memory getting short. */
export interface MemoryNotifier {
  /** v1: at how much usage; without effect on v2, which knows no such threshold. */
  arm(usageBytes: number): void;
  close(): void;
}

/**
 * v1: an eventfd that is signalled when a cgroup's usage crosses a number of bytes, in either direction (`cgroup.event_control`).
 * @param directory of the cgroup in the memory hierarchy
 */
export function createUsageNotifier(directory: string, events: KernelEvents, onEvent: () => void): MemoryNotifier {
  let disarm = () => {};
  return {
    arm(usageBytes) {
      disarm();
      const usage = openSync(join(directory, 'memory.usage_in_bytes'), 'r');
      const fd = openEventfd();
      try {
        const limit = Math.max(0, Math.floor(usageBytes));
        writeFileSync(join(directory, 'cgroup.event_control'), `${fd} ${usage} ${limit}`, { flag: 'r+' });
        const remove = events.add(fd, EPOLLIN, () => {
          drainEventfd(fd);
          onEvent();
        });
        disarm = () => {
          disarm = () => {};
          remove();
          // The kernel forgets a threshold with its eventfd.
          closeSync(fd);
        };
      } catch (error) {
        closeSync(fd);
        throw error;
      } finally {
        closeSync(usage);
      }
    },
    close: () => disarm(),
  };
}

/** Tasks that waited for memory for 100 ms within 2 s: enough to look. Without CAP_SYS_RESOURCE the window must be whole pairs of seconds. */
const STALL = 'some 100000 2000000';

/**
 * Linux ≥ 4.20: tells when tasks wait for memory (`memory.pressure` of a v2 cgroup, or `/proc/pressure/memory`).
 * @throws when the kernel does not count pressure
 */
export function createPressureNotifier(file: string, events: KernelEvents, onEvent: () => void): MemoryNotifier {
  const fd = openSync(file, 'r+');
  try {
    writeSync(fd, `${STALL}\0`);
    return notifier(fd, events.add(fd, EPOLLPRI, onEvent));
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** v2: tells when a cgroup reaches `memory.high` or `memory.max`, or loses a process to the OOM killer (`memory.events`). */
export function createEventsNotifier(directory: string, events: KernelEvents, onEvent: () => void): MemoryNotifier {
  const fd = openSync(join(directory, 'memory.events'), 'r');
  const buffer = Buffer.alloc(4096);
  // Reading it is what makes it quiet until the next change.
  const read = () => readSync(fd, buffer, 0, buffer.length, 0);
  try {
    read();
    const remove = events.add(fd, EPOLLPRI, () => {
      read();
      onEvent();
    });
    return notifier(fd, remove);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function notifier(fd: number, remove: () => void): MemoryNotifier {
  return {
    arm() {},
    close() {
      remove();
      closeSync(fd);
    },
  };
}

import { closeSync, readSync, writeSync } from 'node:fs';
import koffi from 'koffi';
import { SyscallError } from './libc.ts';

const libc = koffi.load('libc.so.6');
const eventfdCall = libc.func('int eventfd(unsigned int initial, int flags)');
const epollCreateCall = libc.func('int epoll_create1(int flags)');
const epollControlCall = libc.func('int epoll_ctl(int epoll, int operation, int fd, const void *event)');
const epollWaitCall = libc.func('int epoll_wait(int epoll, _Out_ void *events, int most, int timeoutMs)');

const CLOEXEC = 0o2000000;
const NONBLOCK = 0o4000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
/** struct epoll_event is packed on x86-64 alone. */
const EVENT_BYTES = process.arch === 'x64' ? 12 : 16;
const DATA_OFFSET = EVENT_BYTES - 8;
const MOST_EVENTS = 16;

/** There is something to read: eventfds. */
export const EPOLLIN = 0x001;
/** Something out of the ordinary: pressure triggers, files of the kernel that tell of their changes. */
export const EPOLLPRI = 0x002;

/** A new eventfd, which the kernel (or `signalEventfd`) makes readable; close it with fs.closeSync. */
export function openEventfd(): number {
  const fd = eventfdCall(0, CLOEXEC | NONBLOCK);
  if (fd < 0) throw new SyscallError('eventfd', koffi.errno(), '');
  return fd;
}

/** Takes what an eventfd has counted, so that it is quiet again. */
export function drainEventfd(fd: number): void {
  try {
    readSync(fd, Buffer.alloc(8));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
  }
}

/** Descriptors that the kernel signals by means which Node's event loop does not follow. */
export interface KernelEvents {
  /**
   * Calls `onEvent` whenever the descriptor is signalled (level-triggered: it must quieten it). The returned function ends that; close
   * the descriptor only afterwards.
   */
  add(fd: number, mask: number, onEvent: () => void): () => void;
  /** Waits for events on one thread of Node's pool until aborted. */
  run(signal: AbortSignal): Promise<void>;
  /** After `run` has ended, or when it never began. */
  close(): void;
}

export function openKernelEvents(): KernelEvents {
  const epoll = epollCreateCall(CLOEXEC);
  if (epoll < 0) throw new SyscallError('epoll_create1', koffi.errno(), '');
  const handlers = new Map<number, () => void>();
  const wakeFd = openEventfd();

  function control(operation: number, fd: number, mask: number): void {
    const event = Buffer.alloc(EVENT_BYTES);
    event.writeUInt32LE(mask, 0);
    event.writeInt32LE(fd, DATA_OFFSET);
    if (epollControlCall(epoll, operation, fd, event) !== 0)
      throw new SyscallError('epoll_ctl', koffi.errno(), `descriptor ${fd}`);
  }

  /** The descriptors that were signalled; empty after an interruption. */
  function next(buffer: Buffer): Promise<number[]> {
    return new Promise((resolve, reject) => {
      epollWaitCall.async(epoll, buffer, MOST_EVENTS, -1, (error: unknown, count: number) => {
        if (error) return reject(error);
        // errno belongs to the other thread. All that can fail here is a signal that came in between.
        const found = Math.max(0, count);
        resolve(Array.from({ length: found }, (_, index) => buffer.readInt32LE(index * EVENT_BYTES + DATA_OFFSET)));
      });
    });
  }

  control(EPOLL_CTL_ADD, wakeFd, EPOLLIN);
  return {
    add(fd, mask, onEvent) {
      control(EPOLL_CTL_ADD, fd, mask);
      handlers.set(fd, onEvent);
      return () => {
        if (handlers.get(fd) !== onEvent) return;
        handlers.delete(fd);
        control(EPOLL_CTL_DEL, fd, 0);
      };
    },
    async run(signal) {
      // A thread that waits for ever would keep the program from ending.
      const stop = () => writeSync(wakeFd, Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]));
      signal.addEventListener('abort', stop, { once: true });
      const buffer = Buffer.alloc(EVENT_BYTES * MOST_EVENTS);
      while (!signal.aborted) for (const fd of await next(buffer)) handlers.get(fd)?.();
    },
    close() {
      closeSync(epoll);
      closeSync(wakeFd);
    },
  };
}

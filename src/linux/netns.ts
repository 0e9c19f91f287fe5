import { closeSync, openSync, statSync } from 'node:fs';
import { CLONE_NEWNET, setns, unshare } from './libc.ts';

/** The namespace of the calling thread; `/proc/self` would be the main thread's. */
const OWN_NETNS = '/proc/thread-self/ns/net';

/**
 * Runs `work` inside another network namespace. It must be synchronous: the whole thread moves, and whatever
 * the event loop runs after the first await would run in the host's namespace or, worse, the other way round.
 * Sockets, and paths below /proc/sys/net, that are opened inside belong to that namespace for good.
 *
 * If the way back fails, the process aborts: a daemon that works on in a pod's namespace would write node rules into the pod.
 * @throws the error of open(2) or setns(2) when the namespace can't be entered (ENOENT when it is gone), or what `work` throws.
 */
export function withNetns<T>(path: string, work: () => T extends Promise<unknown> ? never : T): T {
  const target = openSync(path, 'r');
  try {
    const home = openSync(OWN_NETNS, 'r');
    try {
      setns(target, CLONE_NEWNET, path);
      try {
        return work();
      } finally {
        returnHome(home);
      }
    } finally {
      closeSync(home);
    }
  } finally {
    closeSync(target);
  }
}

function returnHome(home: number): void {
  try {
    setns(home, CLONE_NEWNET, OWN_NETNS);
  } catch {
    process.abort();
  }
}

/** Runs `work` there when a path is given, else here. */
export function inNetns<T>(path: string | undefined, work: () => T extends Promise<unknown> ? never : T): T {
  return path === undefined ? work() : withNetns(path, work);
}

/** Whether the path leads to a namespace now. A pod's is gone when its pause process is. */
export function netnsExists(path: string): boolean {
  return netnsId(path) !== undefined;
}

/** The namespace's identity (`device:inode`), equal for every path to it; undefined when there is none: a plain file below /run/netns is what an unmounted one has left. */
export function netnsId(path: string): string | undefined {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stat?.dev === nsfs() ? `${stat.dev}:${stat.ino}` : undefined;
}

let nsfsDevice: bigint | undefined;

/** The one file system that all namespaces are in. */
function nsfs(): bigint {
  nsfsDevice ??= statSync(OWN_NETNS, { bigint: true }).dev;
  return nsfsDevice;
}

/** A network namespace that nobody is in yet. It lives as long as this descriptor, and whatever has joined it by then. */
export interface HeldNetns {
  /** Leads to it for every process that sees this one in its /proc. */
  readonly path: string;
  /** As `netnsId` tells it. */
  readonly id: string;
  close(): void;
}

/** Makes a network namespace; only `lo` is in it, down. Needs CAP_SYS_ADMIN. */
export function createNetns(): HeldNetns {
  const home = openSync(OWN_NETNS, 'r');
  try {
    unshare(CLONE_NEWNET);
    let fd: number;
    try {
      fd = openSync(OWN_NETNS, 'r');
    } finally {
      returnHome(home);
    }
    const path = `/proc/${process.pid}/fd/${fd}`;
    return { path, id: netnsId(path)!, close: () => closeSync(fd) };
  } finally {
    closeSync(home);
  }
}

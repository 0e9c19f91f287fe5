import { closeSync, openSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { isIp } from '../../src/linux/ip.ts';
import { flock, LOCK_EX, LOCK_NB } from '../../src/linux/libc.ts';
import { CNI_ERROR, CniError } from '../types.ts';
import { makeDirectory } from './make-directory.ts';
import { atOnce, inPool } from './small-files.ts';

/** One reserved address. */
export interface Lease {
  ip: string;
  containerId: string;
  /** undefined in files of very old host-local versions: matches any. */
  ifname: string | undefined;
}

/**
 * Reservations of one network on disk, laid out as the host-local plugin does, so that either finds the other's:
 *
 *     <dataDir>/<network>/10.244.1.5            content: <containerID>\r\n<ifname>
 *     <dataDir>/<network>/last_reserved_ip.0    where the next search begins
 *     <dataDir>/<network>/lock                  flock(2) held while anything here changes
 *     <dataDir>/<network>/*.new                 what is being written (ours; no address, so nobody reads it)
 */
export interface LeaseStore {
  /** Runs `work` while this process alone, of all on the host, may change the store. Not reentrant. */
  locked<T>(work: () => Promise<T>): Promise<T>;
  /** Every lease on disk, by address. Call within `locked` when the answer is acted upon. Costs one stat a lease. */
  list(): Promise<ReadonlyMap<string, Lease>>;
  /** Writes the lease of an address that `list` did not have. Within the same `locked`. */
  reserve(lease: { ip: string; containerId: string; ifname: string }): Promise<void>;
  /** Within `locked`. A lease that is gone is fine. */
  release(ip: string): Promise<void>;
  lastReserved(setIndex: number): string | undefined;
  setLastReserved(setIndex: number, ip: string): Promise<void>;
  /** When this process released the address, by the monotonic clock; undefined when it did not, or long ago. */
  releasedAtMs(ip: string): number | undefined;
}

export interface StoreDependencies {
  sleep(ms: number): Promise<void>;
  /** Of a process that lives long and answers others meanwhile; one of a single call remembers nothing, and reads at once. */
  monotonicMs?(): number;
}

/** How long a released address is left alone while there are others. */
export const QUARANTINE_MS = 60_000;

/** In one turn of the event loop: some 3 ms. */
const STATS_AT_ONCE = 1000;
const READS_AT_ONCE = 64;
const LOCK_RETRY_MS = 5;
const LOCK_TIMEOUT_MS = 10_000;

export function createLeaseStore(options: { dataDir: string; network: string }, deps: StoreDependencies): LeaseStore {
  const directory = join(options.dataDir, options.network);
  const livesLong = deps.monotonicMs !== undefined;
  const files = livesLong ? inPool : atOnce;
  const lockPath = join(directory, 'lock');
  /** Only who holds the lock writes: one draft is enough. */
  const draftPath = join(directory, 'lease.new');
  /** Leases by address as last read. A file's content never changes while it exists, so only new files are read again. */
  let known: Map<string, KnownLease> | undefined;
  let tail: Promise<unknown> = Promise.resolve();
  /** By address, the oldest first. */
  const released = new Map<string, number>();
  const pathOf = (ip: string) => join(directory, ip);
  const pathOfLast = (setIndex: number) => join(directory, `last_reserved_ip.${setIndex}`);

  async function takeLock(): Promise<number> {
    const descriptor = openLock();
    for (let waitedMs = 0; ; waitedMs += LOCK_RETRY_MS) {
      try {
        // Never blocking: another process may hold it, and this thread also answers probes.
        flock(descriptor, LOCK_EX | LOCK_NB, lockPath);
        return descriptor;
      } catch (error) {
        const busy = ['EAGAIN', 'EWOULDBLOCK', 'EINTR'].includes((error as NodeJS.ErrnoException).code ?? '');
        if (!busy || waitedMs >= LOCK_TIMEOUT_MS) {
          closeSync(descriptor);
          throw busy
            ? new CniError(CNI_ERROR.tryAgainLater, `${lockPath} has been locked by another process for 10 s`)
            : error;
        }
      }
      await deps.sleep(LOCK_RETRY_MS);
    }
  }

  function openLock(): number {
    try {
      return openSync(lockPath, 'a+', 0o600);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw unusable(error);
      try {
        makeDirectory(directory, 0o755);
      } catch (cause) {
        throw unusable(cause);
      }
      return openSync(lockPath, 'a+', 0o600);
    }
  }

  function unusable(cause: unknown): CniError {
    const why = cause instanceof Error ? cause.message : String(cause);
    return new CniError(CNI_ERROR.ioFailure, `can't keep addresses in ${directory}: ${why}`, { cause });
  }

  /** A directory by an address's name is nobody's, and the address is not free: one stray thing must not keep all others from theirs. */
  const read = async (ip: string) =>
    parseLease(ip, await files.readFile(pathOf(ip), 'utf8').catch(ignore('', 'ENOENT', 'EISDIR')));

  const store: LeaseStore = {
    locked(work) {
      const result = tail.then(async () => {
        const descriptor = await takeLock();
        try {
          return await work();
        } finally {
          closeSync(descriptor);
        }
      });
      tail = result.catch(() => {});
      return result;
    },

    async list() {
      const names = namesIn(directory);
      const fresh = new Map<string, KnownLease>();
      if (!livesLong) {
        for (const ip of names) fresh.set(ip, { ...(await read(ip)), file: undefined });
        return fresh;
      }
      const unread: { ip: string; file: string }[] = [];
      for (const [index, ip] of names.entries()) {
        if (index % STATS_AT_ONCE === STATS_AT_ONCE - 1) await new Promise((resolve) => setImmediate(resolve));
        const file = fileIdOf(pathOf(ip));
        const before = known?.get(ip);
        if (file === undefined) continue;
        if (before?.file === file) fresh.set(ip, before);
        else unread.push({ ip, file });
      }
      for (let at = 0; at < unread.length; at += READS_AT_ONCE) {
        const some = unread.slice(at, at + READS_AT_ONCE);
        await Promise.all(some.map(async ({ ip, file }) => fresh.set(ip, { ...(await read(ip)), file })));
      }
      known = fresh;
      // As it is now, whatever is written next.
      return new Map(fresh);
    },

    async reserve(lease) {
      // Written beside and renamed: a process that is killed here leaves a whole lease or none.
      try {
        await files.writeFile(draftPath, `${lease.containerId}\r\n${lease.ifname}`, { mode: 0o600 });
        await files.rename(draftPath, pathOf(lease.ip));
      } catch (error) {
        throw unusable(error);
      }
      known?.set(lease.ip, { ...lease, file: fileIdOf(pathOf(lease.ip)) });
    },

    async release(ip) {
      await files.unlink(pathOf(ip)).catch(ignore(undefined, 'ENOENT', 'EISDIR'));
      known?.delete(ip);
      const nowMs = deps.monotonicMs?.();
      if (nowMs === undefined) return;
      released.delete(ip);
      released.set(ip, nowMs);
      for (const [other, atMs] of released) {
        if (nowMs - atMs <= QUARANTINE_MS) break;
        released.delete(other);
      }
    },

    releasedAtMs: (ip) => released.get(ip),

    lastReserved(setIndex) {
      try {
        return readFileSync(pathOfLast(setIndex), 'utf8').trim() || undefined;
      } catch (error) {
        return ignoreAbsence(undefined)(error);
      }
    },

    async setLastReserved(setIndex, ip) {
      const path = pathOfLast(setIndex);
      try {
        await files.writeFile(`${path}.new`, ip, { mode: 0o600 });
        await files.rename(`${path}.new`, path);
      } catch (error) {
        throw unusable(error);
      }
    },
  };
  return store;
}

/** Addresses that have a file. What was looked up a while ago is in memory: quicker than a turn of the pool. */
function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory).filter(isIp);
  } catch (error) {
    return ignoreAbsence([] as string[])(error);
  }
}

interface KnownLease extends Lease {
  /** Tells it from another lease of the same address, which another process may have made since. */
  file: string | undefined;
}

function fileIdOf(path: string): string | undefined {
  const stat = statSync(path, { throwIfNoEntry: false });
  // The size too: the reference plugin makes the file and then writes it, both in one tick of the kernel's clock.
  return stat && `${stat.ino} ${stat.mtimeMs} ${stat.size}`;
}

/** An empty file (the host died while it was written) is a lease of nobody: garbage collection takes it. */
export function parseLease(ip: string, content: string): Lease {
  const [containerId = '', ifname] = content.trim().split(/\r?\n/);
  return { ip, containerId: containerId.trim(), ifname: ifname?.trim() };
}

const ignoreAbsence = <T>(otherwise: T) => ignore(otherwise, 'ENOENT');

function ignore<T>(otherwise: T, ...codes: string[]): (error: unknown) => T {
  return (error) => {
    if (codes.includes((error as NodeJS.ErrnoException).code ?? '')) return otherwise;
    throw error;
  };
}

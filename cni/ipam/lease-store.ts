import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { link, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseIp } from '../../src/linux/ip.ts';
import { flock, LOCK_EX, LOCK_NB } from '../../src/linux/libc.ts';
import { CNI_ERROR, CniError } from '../types.ts';

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
 *     <dataDir>/<network>/reserving             the next lease while it is written (ours; no address, so nobody reads it)
 */
export interface LeaseStore {
  /** Runs `work` while this process alone, of all on the host, may change the store. Not reentrant. */
  locked<T>(work: () => Promise<T>): Promise<T>;
  /** Every lease on disk. Call within `locked` when the answer is acted upon. */
  list(): Promise<Lease[]>;
  /** Writes the lease unless the address is taken. Within `locked`. */
  reserve(lease: { ip: string; containerId: string; ifname: string }): Promise<boolean>;
  /** Within `locked`. A lease that is gone is fine. */
  release(ip: string): Promise<void>;
  lastReserved(setIndex: number): Promise<string | undefined>;
  setLastReserved(setIndex: number, ip: string): Promise<void>;
  /** What the container holds, from memory (read from disk the first time). */
  heldBy(containerId: string): Lease[];
}

const LOCK_RETRY_MS = 5;
const LOCK_TIMEOUT_MS = 10_000;

export function createLeaseStore(
  options: { dataDir: string; network: string },
  deps: { sleep(ms: number): Promise<void> },
): LeaseStore {
  const directory = join(options.dataDir, options.network);
  const lockPath = join(directory, 'lock');
  /** One at a time: only who holds the lock reserves. */
  const draftPath = join(directory, 'reserving');
  /** Leases by address as last read. A file's content never changes while it exists, so only new names are read again. */
  let known: Map<string, Lease> | undefined;
  let tail: Promise<unknown> = Promise.resolve();
  const pathOf = (ip: string) => join(directory, ip);
  const pathOfLast = (setIndex: number) => join(directory, `last_reserved_ip.${setIndex}`);

  async function takeLock(): Promise<number> {
    const descriptor = await openLock();
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

  async function openLock(): Promise<number> {
    try {
      return openSync(lockPath, 'a+', 0o600);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw unusable(error);
      await mkdir(directory, { recursive: true, mode: 0o755 }).catch((cause) => {
        throw unusable(cause);
      });
      return openSync(lockPath, 'a+', 0o600);
    }
  }

  function unusable(cause: unknown): CniError {
    const why = cause instanceof Error ? cause.message : String(cause);
    return new CniError(CNI_ERROR.ioFailure, `can't keep addresses in ${directory}: ${why}`, { cause });
  }

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
      const names = (await readdir(directory).catch(ignoreAbsence([] as string[]))).filter(isIp);
      const fresh = new Map<string, Lease>();
      for (const ip of names) {
        const lease = known?.get(ip) ?? parseLease(ip, await readFile(pathOf(ip), 'utf8').catch(ignoreAbsence('')));
        fresh.set(ip, lease);
      }
      known = fresh;
      return [...fresh.values()];
    },

    async reserve(lease) {
      // Written beside and linked into place: a process that is killed here leaves a whole lease or none.
      try {
        await writeFile(draftPath, `${lease.containerId}\r\n${lease.ifname}`, { mode: 0o600 });
        await link(draftPath, pathOf(lease.ip));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
        throw unusable(error);
      } finally {
        await rm(draftPath, { force: true });
      }
      known?.set(lease.ip, lease);
      return true;
    },

    async release(ip) {
      await rm(pathOf(ip), { force: true });
      known?.delete(ip);
    },

    async lastReserved(setIndex) {
      return (await readFile(pathOfLast(setIndex), 'utf8').catch(ignoreAbsence(''))).trim() || undefined;
    },

    async setLastReserved(setIndex, ip) {
      const path = pathOfLast(setIndex);
      await writeFile(`${path}.new`, ip, { mode: 0o600 });
      await rename(`${path}.new`, path);
    },

    heldBy(containerId) {
      known ??= readAll(directory);
      return [...known.values()].filter((lease) => lease.containerId === containerId);
    },
  };
  return store;
}

function readAll(directory: string): Map<string, Lease> {
  let names: string[];
  try {
    names = readdirSync(directory).filter(isIp);
  } catch (error) {
    return ignoreAbsence(new Map<string, Lease>())(error);
  }
  return new Map(names.map((ip) => [ip, parseLease(ip, readFileSync(join(directory, ip), 'utf8'))]));
}

/** An empty file (the host died while it was written) is a lease of nobody: garbage collection takes it. */
export function parseLease(ip: string, content: string): Lease {
  const [containerId = '', ifname] = content.trim().split(/\r?\n/);
  return { ip, containerId: containerId.trim(), ifname: ifname?.trim() };
}

function isIp(name: string): boolean {
  try {
    parseIp(name);
    return true;
  } catch {
    return false;
  }
}

function ignoreAbsence<T>(otherwise: T): (error: unknown) => T {
  return (error) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return otherwise;
    throw error;
  };
}

import { createWriteStream, mkdirSync } from 'node:fs';
import { readdir, rename, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { getHeapSnapshot } from 'node:v8';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';

/** SIGUSR1 is taken by Node's inspector. */
const SIGNAL = 'SIGUSR2';
/** So many stay; the oldest give way. */
const KEPT = 2;
/** A snapshot is text: so many times the heap, at most. */
const TEXT_PER_HEAP = 4;

/**
 * Writes what the process holds in memory to `<rootDir>/heap/<name>-<time>.heapsnapshot` whenever it gets SIGUSR2; Chrome's developer
 * tools show it (Memory, Load). The process stands still for about a second per 100 MiB of heap and needs as much memory again: a tool
 * for people who look for a leak. Secrets are in it, so nobody else may read it.
 */
export function writeHeapSnapshotsOnSignal(
  options: { name: string; rootDir: string },
  { log, clock }: { log: Logger; clock: Clock },
): void {
  const folder = join(options.rootDir, 'heap');
  let isWriting = false;

  async function write(): Promise<void> {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const { bavail, bsize } = await statfs(folder);
    const { heapUsed } = process.memoryUsage();
    if (bavail * bsize < heapUsed * TEXT_PER_HEAP)
      throw new Error(`${folder}: ${bavail * bsize} bytes are free, a snapshot may need ${heapUsed * TEXT_PER_HEAP}`);
    for (const name of (await readdir(folder))
      .filter(isSnapshot)
      .sort()
      .slice(0, -(KEPT - 1)))
      await rm(join(folder, name), { force: true });
    const time = new Date(clock.nowMs()).toISOString().replace(/[-:]|\.\d+/g, '');
    const path = join(folder, `${options.name}-${time}.heapsnapshot`);
    const partial = `${path}.partial`;
    // What was there under that name may be a trap: the file must be a new one.
    await rm(partial, { force: true });
    const startedMs = clock.monotonicMs();
    try {
      await pipeline(getHeapSnapshot(), createWriteStream(partial, { flags: 'wx', mode: 0o600 }));
      await rename(partial, path);
    } catch (error) {
      await rm(partial, { force: true });
      throw error;
    }
    const seconds = (clock.monotonicMs() - startedMs) / 1000;
    // Taking one collects garbage first: this is what is really held.
    log.info({ path, seconds, heapUsedBytes: process.memoryUsage().heapUsed }, 'heap snapshot written');
  }

  process.on(SIGNAL, () => {
    if (isWriting) return;
    isWriting = true;
    write()
      .catch((error) => log.error({ err: error }, 'no heap snapshot could be written'))
      .finally(() => {
        isWriting = false;
      });
  });
}

const isSnapshot = (name: string) => name.endsWith('.heapsnapshot');

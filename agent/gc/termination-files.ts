import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** Files behind the termination messages of a container's runs, as many as stay: of the run there is, of the one before, and of starts that failed since. */
const KEPT = 10;

/**
 * Each run of a container leaves a file for its termination message, and a container that crashes for weeks thousands (the kubelet keeps
 * them all). Removes the oldest. Idempotent; a directory that is not there is none.
 */
export async function removeOldTerminationFiles(directory: string): Promise<void> {
  const names = await readdir(directory).catch(() => []);
  if (names.length <= KEPT) return;
  const files = await Promise.all(
    names.map(async (name) => {
      const path = join(directory, name);
      const found = await stat(path).catch(() => undefined);
      // Not the time of the last write, which is the run's end.
      return { path, bornMs: found ? found.birthtimeMs || found.ctimeMs : 0 };
    }),
  );
  files.sort((a, b) => a.bornMs - b.bornMs);
  for (const { path } of files.slice(0, -KEPT)) await rm(path, { force: true });
}

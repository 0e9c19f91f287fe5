import { mkdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Where systemd-logind reads additions to its configuration. */
export const LOGIND_CONF_DIR = '/etc/systemd/logind.conf.d';
const NAME = '99-berth.conf';
const MARK = '# Written by berth';

/** The addition that lets delay locks hold a shutdown for so long. */
export function renderLogindOverride(delayMs: number): string {
  return `${MARK}: shutdownGracePeriod needs it.\n[Login]\nInhibitDelayMaxSec=${Math.ceil(delayMs / 1000)}\n`;
}

/** Writes the addition; logind has to be told. */
export async function ensureLogindOverride(delayMs: number, directory = LOGIND_CONF_DIR): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o755 });
  await writeFile(join(directory, NAME), renderLogindOverride(delayMs), { mode: 0o644 });
}

/** Removes the addition, if it is ours, and the directory with it, if nobody else's is in it. Idempotent. */
export async function removeLogindOverride(directory = LOGIND_CONF_DIR): Promise<void> {
  const path = join(directory, NAME);
  const text = await readFile(path, 'utf8').catch(() => '');
  if (!text.startsWith(MARK)) return;
  await rm(path, { force: true });
  await rmdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOTEMPTY' && error.code !== 'ENOENT') throw error;
  });
}

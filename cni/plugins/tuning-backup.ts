import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AttachmentKey } from '../types.ts';

/** How an interface was before the tuning plugin changed it: only what it changes. In the reference plugin's words, for it reads them too. */
export interface TuningBackup {
  mac?: string;
  promisc?: boolean;
  mtu?: number;
  allmulti?: boolean;
  txQLen?: number;
  /** Ours: whose file it is, for collecting. */
  network?: string;
}

export const DEFAULT_TUNING_DIR = '/run/cni/tuning';

const fileOf = (directory: string, { containerId, ifname }: AttachmentKey) =>
  join(directory, `${containerId}_${ifname}.json`);

/** undefined without one, and for one that cannot be read (there is nothing to go back to then). */
export function readBackup(directory: string, key: AttachmentKey): TuningBackup | undefined {
  try {
    const value = JSON.parse(readFileSync(fileOf(directory, key), 'utf8')) as TuningBackup | null;
    return value ?? undefined;
  } catch (error) {
    if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Whole or not at all. What an earlier ADD has saved stays: it was killed after it had changed the interface. */
export function saveBackup(directory: string, key: AttachmentKey, backup: TuningBackup): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const file = fileOf(directory, key);
  const whole = { ...backup, ...readBackup(directory, key) };
  writeFileSync(`${file}.new`, JSON.stringify(whole, null, 1), { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

export function removeBackup(directory: string, key: AttachmentKey): void {
  rmSync(fileOf(directory, key), { force: true });
}

/** Removes those of a network whose attachment is not valid any more. Files without a network (the reference plugin's) stay. */
export function collectBackups(directory: string, network: string, valid: readonly AttachmentKey[]): void {
  const keep = new Set(valid.map((key) => fileOf(directory, key)));
  for (const name of namesIn(directory)) {
    const at = name.lastIndexOf('_');
    if (at < 0 || !name.endsWith('.json')) continue;
    const key = { containerId: name.slice(0, at), ifname: name.slice(at + 1, -'.json'.length) };
    if (!keep.has(fileOf(directory, key)) && readBackup(directory, key)?.network === network)
      removeBackup(directory, key);
  }
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

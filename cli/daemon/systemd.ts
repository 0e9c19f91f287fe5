import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../../src/linux/exec.ts';

const UNIT_FOLDER = '/etc/systemd/system';
/** The launcher's path as the unit files in systemd/ have it. */
const PACKAGED_LAUNCHER = '/opt/berth/berth';
const UNIT = 'berth.service';

/** True where systemd is PID 1 (sd_booted(3)). */
export function systemdIsPid1(): boolean {
  return existsSync('/run/systemd/system');
}

/** A unit file of systemd/ with this checkout's launcher and the cluster's root directory in ExecStart. */
export function renderUnit(text: string, checkout: string, rootDir?: string): string {
  const unit = text.replaceAll(PACKAGED_LAUNCHER, join(checkout, 'berth'));
  return rootDir ? unit.replace(/--root-dir \S+/, `--root-dir ${rootDir}`) : unit;
}

/** Installs berth.service and starts it; the unit is ready when the daemon says so (Type=notify). */
export async function startUnit(checkout: string, rootDir: string): Promise<void> {
  await installUnit(UNIT, renderUnit(readFileSync(join(checkout, 'systemd', UNIT), 'utf8'), checkout, rootDir));
}

/** Writes a unit file that only root may read (CIS 4.1.1), also over one of before with another mode. */
export function writeUnit(name: string, text: string, folder = UNIT_FOLDER): void {
  const path = join(folder, name);
  writeFileSync(path, text, { mode: 0o600 });
  chmodSync(path, 0o600);
}

/** Installs a unit file, enables it and starts it. */
export async function installUnit(name: string, text: string): Promise<void> {
  writeUnit(name, text);
  await run('systemctl', ['daemon-reload']);
  await run('systemctl', ['enable', '--quiet', name]);
  await run('systemctl', ['start', '--no-block', name]);
}

/** The end of what the unit said, which is in the journal. */
export async function unitJournal(lines: number, name = UNIT): Promise<string> {
  const { stdout } = await run('journalctl', [
    '--unit',
    name,
    '--no-pager',
    '--output',
    'cat',
    '--lines',
    String(lines),
  ]);
  return stdout.trimEnd();
}

/** Stops, disables and removes the unit; nothing happens when it was never installed. */
export async function removeUnit(name = UNIT): Promise<void> {
  if (!existsSync(join(UNIT_FOLDER, name))) return;
  await run('systemctl', ['disable', '--now', '--quiet', name], { timeoutMs: 60_000 });
  rmSync(join(UNIT_FOLDER, name), { force: true });
  await run('systemctl', ['daemon-reload']);
}

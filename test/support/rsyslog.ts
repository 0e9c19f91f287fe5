import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CHECKOUT } from '../../cli/daemon/launch.ts';
import { unpackPackages } from '../../cli/debian/packages.ts';

/** A shipper of logs, with its libraries and modules. */
export interface Rsyslog {
  /** To run it with a configuration: a shell command. */
  command(configuration: string, pidFile: string): string;
}

const PACKAGES = ['rsyslog', 'libestr0', 'libfastjson4', 'liblognorm5'];

/** Debian's rsyslog, unpacked beside the system where the next run finds it; `skip` says why there is none. */
export async function rsyslogOrWhyNot(): Promise<Rsyslog | { skip: string }> {
  const folder = join(CHECKOUT, '.toolchain/rsyslog');
  const program = join(folder, 'rsyslogd');
  const libraries = join(folder, 'lib');
  try {
    if (!existsSync(program)) await fetchRsyslog(folder);
    const env = { ...process.env, LD_LIBRARY_PATH: libraries };
    const { status, stderr, error } = spawnSync(program, ['-v'], { env, encoding: 'utf8' });
    if (status !== 0) return { skip: `rsyslog does not start (${error?.message ?? stderr.trim().split('\n')[0]})` };
    return {
      command: (configuration, pidFile) =>
        `LD_LIBRARY_PATH=${libraries} ${program} -n -f ${configuration} -i ${pidFile} -M ${libraries}/rsyslog`,
    };
  } catch (error) {
    return { skip: `no rsyslog (${(error as Error).message.split('\n')[0]})` };
  }
}

async function fetchRsyslog(folder: string): Promise<void> {
  const unpacked = mkdtempSync(join(tmpdir(), 'berth-rsyslog-'));
  const partial = `${folder}.${process.pid}`;
  try {
    await unpackPackages(PACKAGES, unpacked);
    mkdirSync(partial, { recursive: true });
    const libraries = readdirSync(join(unpacked, 'usr/lib')).find((name) => name.endsWith('-linux-gnu')) ?? '';
    cpSync(join(unpacked, 'usr/lib', libraries), join(partial, 'lib'), { recursive: true, verbatimSymlinks: true });
    cpSync(join(unpacked, 'usr/sbin/rsyslogd'), join(partial, 'rsyslogd'));
    rmSync(folder, { recursive: true, force: true });
    renameSync(partial, folder);
  } finally {
    for (const rest of [unpacked, partial]) rmSync(rest, { recursive: true, force: true });
  }
}

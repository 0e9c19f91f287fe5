import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CHECKOUT } from '../../cli/daemon/launch.ts';
import { unpackPackages } from '../../cli/debian/packages.ts';

export interface PrometheusPrograms {
  prometheus: string;
  promtool: string;
}

/** Debian's Prometheus, unpacked beside the system where the next run finds it; `skip` says why there is none. */
export async function prometheusOrWhyNot(): Promise<PrometheusPrograms | { skip: string }> {
  const folder = join(CHECKOUT, '.toolchain/prometheus');
  const programs = { prometheus: join(folder, 'prometheus'), promtool: join(folder, 'promtool') };
  try {
    if (!existsSync(programs.promtool)) await fetchPrograms(folder, Object.keys(programs));
    const { status, stderr, error } = spawnSync(programs.prometheus, ['--version'], { encoding: 'utf8' });
    if (status !== 0) return { skip: `Prometheus does not start (${error?.message ?? stderr.trim().split('\n')[0]})` };
    return programs;
  } catch (error) {
    return { skip: `no Prometheus (${(error as Error).message.split('\n')[0]})` };
  }
}

/** The programs alone: what else is in the package (links to Debian's JavaScript libraries) would trouble the linter. */
async function fetchPrograms(folder: string, programs: string[]): Promise<void> {
  const unpacked = mkdtempSync(join(tmpdir(), 'berth-prometheus-'));
  const partial = `${folder}.${process.pid}`;
  try {
    await unpackPackages(['prometheus'], unpacked);
    mkdirSync(partial, { recursive: true });
    for (const program of programs) copyFileSync(join(unpacked, 'usr/bin', program), join(partial, program));
    rmSync(folder, { recursive: true, force: true });
    renameSync(partial, folder);
  } finally {
    for (const rest of [unpacked, partial]) rmSync(rest, { recursive: true, force: true });
  }
}

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { CHECKOUT } from '../../cli/daemon/launch.ts';
import { unpackPackages } from '../../cli/debian/packages.ts';

export interface PrometheusPrograms {
  prometheus: string;
  promtool: string;
}

/** Debian's Prometheus, unpacked beside the system where the next run finds it; `skip` says why there is none. */
export async function prometheusOrWhyNot(): Promise<PrometheusPrograms | { skip: string }> {
  const folder = join(CHECKOUT, '.toolchain/prometheus');
  const programs = { prometheus: join(folder, 'usr/bin/prometheus'), promtool: join(folder, 'usr/bin/promtool') };
  const partial = `${folder}.${process.pid}`;
  try {
    if (!existsSync(programs.promtool)) {
      await unpackPackages(['prometheus'], partial);
      mkdirSync(dirname(folder), { recursive: true });
      rmSync(folder, { recursive: true, force: true });
      renameSync(partial, folder);
    }
    const { status, stderr, error } = spawnSync(programs.prometheus, ['--version'], { encoding: 'utf8' });
    if (status !== 0) return { skip: `Prometheus does not start (${error?.message ?? stderr.trim().split('\n')[0]})` };
    return programs;
  } catch (error) {
    return { skip: `no Prometheus (${(error as Error).message.split('\n')[0]})` };
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
}

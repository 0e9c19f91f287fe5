import type { Command } from 'commander';
import { DEFAULT_ROOT_DIR } from '../settings.ts';

/** `berth prometheus`: what a Prometheus on this host needs to scrape the cluster. */
export function definePrometheus(program: Command): void {
  program
    .command('prometheus')
    .description(
      'write prometheus.yml and a client certificate with which a Prometheus on this host scrapes the cluster',
    )
    .argument('<folder>', 'where to; a prometheus.yml that is there already stays')
    .option('--owner <user>', 'who may read the key, for a Prometheus that does not run as root')
    .option('--root-dir <dir>', "the cluster's root directory", DEFAULT_ROOT_DIR)
    .action(async (folder: string, options: { owner?: string; rootDir: string }) => {
      const { writePrometheusFiles } = await import('../monitoring/prometheus-files.ts');
      await writePrometheusFiles({ ...options, folder });
    });
}

import type { Command } from 'commander';
import { DEFAULT_ROOT_DIR } from '../settings.ts';

/** `berth down`: nothing of the cluster stays on the host but its data. */
export function defineDown(program: Command): void {
  program
    .command('down')
    .description('remove the cluster from this host: pods, rules, links, cgroups, processes; data stays')
    .option('--root-dir <dir>', "the cluster's root directory", DEFAULT_ROOT_DIR)
    .option('--purge', 'remove its data too')
    .action(async (options: { rootDir: string; purge?: boolean }) => {
      const { down } = await import('../cluster/down.ts');
      await down(options);
    });
}

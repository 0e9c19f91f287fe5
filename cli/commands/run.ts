import type { Command } from 'commander';
import { DEFAULT_ROOT_DIR } from '../settings.ts';

/** `berth run`: the all-in-one daemon in the foreground; what `up` and the systemd unit start. */
export function defineRun(program: Command): void {
  program
    .command('run', { hidden: true })
    .description('the all-in-one daemon in the foreground (berth up starts it)')
    .option('--root-dir <dir>', "the cluster's root directory", DEFAULT_ROOT_DIR)
    .option('-v, --verbose', 'log more')
    .action(async (options: { rootDir: string; verbose?: boolean }) => {
      const { runDaemon } = await import('../daemon/run.ts');
      await runDaemon(options);
    });
}

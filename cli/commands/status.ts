import type { Command } from 'commander';
import { DEFAULT_ROOT_DIR } from '../settings.ts';

/** `berth status`: components, node conditions, pods, versions, and where logs and kubeconfig are. */
export function defineStatus(program: Command): void {
  program
    .command('status')
    .description('show components, nodes, pods, versions and files; exits 1 when something is unhealthy')
    .option('--root-dir <dir>', "the cluster's root directory", DEFAULT_ROOT_DIR)
    .option('-o, --output <format>', 'json or yaml, for programs')
    .action(async (options: { rootDir: string; output?: string }) => {
      const { status } = await import('../cluster/status.ts');
      await status(options);
    });
}

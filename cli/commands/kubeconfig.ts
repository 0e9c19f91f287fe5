import type { Command } from 'commander';
import { DEFAULT_ROOT_DIR } from '../settings.ts';

/** `berth kubeconfig`: the path of the admin's kubeconfig, for `export KUBECONFIG=$(./berth kubeconfig)`. */
export function defineKubeconfig(program: Command): void {
  program
    .command('kubeconfig')
    .description("print the path of the admin's kubeconfig")
    .option('--root-dir <dir>', "the cluster's root directory", DEFAULT_ROOT_DIR)
    .action(async (options: { rootDir: string }) => {
      const { knownCluster } = await import('../cluster/known-cluster.ts');
      process.stdout.write(`${knownCluster(options.rootDir).kubeconfig}\n`);
    });
}

import { spawnSync } from 'node:child_process';
import { constants } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { DEFAULT_ROOT_DIR } from '../settings.ts';

/** `berth kubectl …`: a kubectl that is new enough, with the cluster's kubeconfig. */
export function defineKubectl(program: Command): void {
  program
    .command('kubectl')
    .description("run kubectl with the cluster's kubeconfig")
    .option('--root-dir <dir>', "the cluster's root directory (before kubectl's own words)", DEFAULT_ROOT_DIR)
    .argument('[args...]', "kubectl's own")
    .helpOption(false)
    .passThroughOptions()
    .allowUnknownOption()
    .action(async (args: string[], options: { rootDir: string }) => {
      const { knownCluster } = await import('../cluster/known-cluster.ts');
      const { findKubectl } = await import('../kubectl/find-kubectl.ts');
      const { CHECKOUT } = await import('../daemon/launch.ts');
      const settings = knownCluster(options.rootDir);
      const program = await findKubectl(join(CHECKOUT, '.toolchain/kubectl'), (line) =>
        process.stderr.write(`berth: ${line}\n`),
      );
      const { status, signal } = spawnSync(program, args, {
        stdio: 'inherit',
        env: { ...process.env, KUBECONFIG: settings.kubeconfig },
      });
      process.exitCode = signal ? 128 + constants.signals[signal] : (status ?? 1);
    });
}

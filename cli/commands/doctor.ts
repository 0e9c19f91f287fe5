import type { Command } from 'commander';
import { DEFAULT_ROOT_DIR } from '../settings.ts';

/** `berth doctor`: looks at Engine, kernel, sysctls and programs. */
export function defineDoctor(program: Command): void {
  program
    .command('doctor')
    .description('look for what keeps pods on this host from running as they should; exits 1 when there is a problem')
    .option('--root-dir <dir>', "the cluster's root directory, which names its Engine", DEFAULT_ROOT_DIR)
    .option('--docker-endpoint <unix://socket>', "another Engine (default: the cluster's, else the host's)")
    .option(
      '--pod-runtime <name>',
      "what the agent was told about pods' OCI runtime (default: as the cluster, else auto)",
    )
    .option('-o, --output <format>', 'json or yaml, for programs')
    .action(async (options) => {
      const { doctor } = await import('../doctor/doctor.ts');
      await doctor(options);
    });
}

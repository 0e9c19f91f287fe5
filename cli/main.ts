import { Command } from 'commander';
import { commands } from './commands/index.ts';
import { reportFailure } from './output/failure.ts';

/** The `berth` command. A subcommand's module is loaded only when it runs: `berth kubeconfig` must not pay for the control plane. */
const program = new Command('berth')
  .description('Turns a Linux host with a Docker Engine into a Kubernetes node')
  .showHelpAfterError('(berth --help lists the commands)')
  .enablePositionalOptions();

for (const define of commands) define(program);

try {
  await program.parseAsync();
} catch (error) {
  // What a failed command has begun (a server that listens already, a timer) must not keep it alive.
  process.exit(reportFailure(error));
}

import { Command } from 'commander';
import { defineProxy } from '../commands/proxy.ts';
import { reportFailure } from '../output/failure.ts';
import { createStackFormatter } from './stack-traces.ts';

/** The entry of a bundle that holds `berth proxy` alone: without the agent's and the control plane's program it takes 20 MiB less. */
Error.prepareStackTrace = createStackFormatter(import.meta.filename);
const program = new Command('berth').enablePositionalOptions();
defineProxy(program);
try {
  await program.parseAsync();
} catch (error) {
  process.exit(reportFailure(error));
}

import { Command } from 'commander';
import { defineDns } from '../commands/dns.ts';
import { reportFailure } from '../output/failure.ts';
import { createStackFormatter } from './stack-traces.ts';

/** The entry of a bundle that holds `berth dns` alone: a process that lives beside the daemon need not carry the daemon's program too. */
Error.prepareStackTrace = createStackFormatter(import.meta.filename);
const program = new Command('berth');
defineDns(program);
try {
  await program.parseAsync();
} catch (error) {
  process.exit(reportFailure(error));
}

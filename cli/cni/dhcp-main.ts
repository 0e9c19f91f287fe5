import { reportFailure } from '../output/failure.ts';
import { runDhcpDaemon } from './dhcp-daemon.ts';

/** The program behind `dhcp daemon` of the plugins' directory; its arguments are the flags. */
try {
  await runDhcpDaemon(process.argv.slice(2));
  process.exit(0);
} catch (error) {
  process.exit(reportFailure(error));
}

import { type Runnable, runTogether } from '../../src/runtime/run-together.ts';
import { sdNotify } from '../../src/runtime/sd-notify.ts';
import { checkRoot } from '../preflight/checks.ts';
import { abortOnSignals, createContext, type ProgramContext } from '../roots/context.ts';
import { writeHeapSnapshotsOnSignal } from './heap-snapshots.ts';
import { type NodeAddresses, watchNodeAddress } from './node-address.ts';

export type Verbose = { verbose?: boolean };

/**
 * Builds the parts, tells systemd, and serves until SIGTERM or SIGINT. What the parts made stays on the host.
 * @param findAddresses of a node that was not told its addresses: it starts anew when the host gets others
 */
export async function serve(
  command: string,
  flags: Verbose & { rootDir?: string },
  prepare: (
    context: ProgramContext,
    signal: AbortSignal,
  ) => Promise<Record<string, Runnable>> | Record<string, Runnable>,
  findAddresses?: () => Promise<NodeAddresses>,
): Promise<void> {
  checkRoot(command);
  const context = createContext(flags);
  if (flags.rootDir) writeHeapSnapshotsOnSignal({ name: command, rootDir: flags.rootDir }, context);
  const asked = abortOnSignals();
  const address = watchNodeAddress(await findAddresses?.(), context, asked);
  const signal = AbortSignal.any([asked, address.signal]);
  const parts = await prepare(context, signal);
  sdNotify('READY=1', process.env.NOTIFY_SOCKET);
  try {
    await runTogether(parts, signal);
  } finally {
    if (asked.aborted || !signal.aborted) sdNotify('STOPPING=1', process.env.NOTIFY_SOCKET);
  }
  address.startAnewIfMoved();
}

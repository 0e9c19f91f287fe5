import { type Runnable, runTogether } from '../../src/runtime/run-together.ts';
import { sdNotify } from '../../src/runtime/sd-notify.ts';
import { checkRoot } from '../preflight/checks.ts';
import { abortOnSignals, createContext, type ProgramContext } from '../roots/context.ts';
import { writeHeapSnapshotsOnSignal } from './heap-snapshots.ts';

export type Verbose = { verbose?: boolean };

/** Builds the parts, tells systemd, and serves until SIGTERM or SIGINT. What the parts made stays on the host. */
export async function serve(
  command: string,
  flags: Verbose & { rootDir?: string },
  prepare: (
    context: ProgramContext,
    signal: AbortSignal,
  ) => Promise<Record<string, Runnable>> | Record<string, Runnable>,
): Promise<void> {
  checkRoot(command);
  const context = createContext(flags);
  if (flags.rootDir) writeHeapSnapshotsOnSignal({ name: command, rootDir: flags.rootDir }, context);
  const signal = abortOnSignals();
  const parts = await prepare(context, signal);
  sdNotify('READY=1', process.env.NOTIFY_SOCKET);
  try {
    await runTogether(parts, signal);
  } finally {
    sdNotify('STOPPING=1', process.env.NOTIFY_SOCKET);
  }
}

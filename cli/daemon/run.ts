import { rmSync } from 'node:fs';
import { sdNotify } from '../../src/runtime/sd-notify.ts';
import { knownCluster } from '../cluster/known-cluster.ts';
import { startKeepers } from '../nodes/keepers.ts';
import { UserError } from '../output/failure.ts';
import { abortOnSignals, createContext } from '../roots/context.ts';
import { pathsOf } from '../settings.ts';
import { writeHeapSnapshotsOnSignal } from './heap-snapshots.ts';
import { daemonPid } from './launch.ts';
import { settleNodeAddress, watchNodeAddress } from './node-address.ts';
import { writePidFile } from './pid-file.ts';

/**
 * Runs the cluster of a root directory until SIGTERM or SIGINT. Pods, rules and a private Engine stay. A host that gets another address
 * gets another start, as the same process.
 */
export async function runDaemon(options: { rootDir: string; verbose?: boolean }): Promise<void> {
  const recorded = knownCluster(options.rootDir);
  const other = daemonPid(recorded);
  if (other !== undefined && other !== process.pid)
    throw new UserError(`another daemon runs this cluster already (pid ${other})`);
  const { pid } = pathsOf(recorded);
  writePidFile(pid, process.pid);
  const context = createContext({ verbose: options.verbose });
  const settings = await settleNodeAddress(recorded, context.log);
  writeHeapSnapshotsOnSignal({ name: 'berth', rootDir: settings.rootDir }, context);
  const notifySocket = process.env.NOTIFY_SOCKET;
  // They need nothing of this process, and it nothing of them: what goes wrong there must not keep the cluster down.
  startKeepers(settings).catch((error) => context.log.error({ err: error }, 'the further nodes of this machine'));
  const { runAllInOne } = await import('../roots/all-in-one.ts');
  const asked = abortOnSignals();
  const address = watchNodeAddress(settings, context, asked);
  try {
    const signal = AbortSignal.any([asked, address.signal]);
    await runAllInOne(settings, context, signal, () => sdNotify('READY=1', notifySocket));
  } finally {
    if (!address.signal.aborted || asked.aborted) {
      sdNotify('STOPPING=1', notifySocket);
      rmSync(pid, { force: true });
    }
  }
  address.startAnewIfMoved();
}

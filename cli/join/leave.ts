import { rmSync } from 'node:fs';
import { removeTree } from '../../src/linux/remove-tree.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import { nodeCniDefaults } from '../cni/flags.ts';
import { cleanUpNode } from '../daemon/node-daemons.ts';
import { stopNode } from '../daemon/node-launch.ts';
import { UserError } from '../output/failure.ts';
import { createSteps } from '../output/steps.ts';
import { checkRoot } from '../preflight/checks.ts';
import { joinPaths, readJoined } from './joined.ts';

/** `berth leave`: takes away what `join` and the pods brought onto this host, credentials too. Saying it again continues where it stopped. */
export async function leave(flags: { rootDir: string }): Promise<void> {
  checkRoot('leave');
  const paths = joinPaths(flags.rootDir);
  const joined = readJoined(paths);
  if (!joined) throw new UserError(`this host has joined no cluster: there is no ${paths.joined}`);
  const steps = createSteps();
  await runAll('berth leave', [
    () => steps.run('daemon stopped', () => stopNode(paths)),
    () =>
      cleanUpNode({
        ...joined,
        rootDir: flags.rootDir,
        podLogsDir: '/var/log/pods',
        bridge: 'cni0',
        ...nodeCniDefaults,
        overrides: [],
      }),
    // Credentials of this host open the cluster: they go also where something else could not.
    () => rmSync(paths.kubeconfig, { force: true }),
  ]);
  await removeTree(flags.rootDir);
  steps.say(`This host is no node any more. On the cluster: kubectl delete node ${joined.nodeName}`);
}

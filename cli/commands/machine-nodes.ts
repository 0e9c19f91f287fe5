import { basename, dirname } from 'node:path';
import type { Command } from 'commander';
import { DEFAULT_ROOT_DIR } from '../settings.ts';

const ROOT_DIR = ['--root-dir <dir>', "the cluster's root directory on this machine", DEFAULT_ROOT_DIR] as const;

/** `berth node add|remove|start|stop|partition|heal|list`: further nodes of the cluster on its own machine, in namespaces. */
export function defineMachineNodes(node: Command): void {
  const define = (
    usage: string,
    description: string,
    act: (manage: typeof import('../nodes/manage.ts'), name: string, flags: { rootDir: string }) => unknown,
  ) =>
    node
      .command(usage)
      .description(description)
      .option(...ROOT_DIR)
      .action(
        async (name: string, flags: { rootDir: string }) =>
          void (await act(await import('../nodes/manage.ts'), name, flags)),
      );
  define(
    'add [name]',
    'make one more node on this machine, with an Engine, network and disk of its own',
    (manage, name, flags) => manage.addNode(name, flags),
  );
  define('remove <name>', 'remove such a node, its disk and its Node object', (manage, name, flags) =>
    manage.removeNode(name, flags),
  );
  define('start <name>', 'power on', (manage, name, flags) => manage.startNode(name, flags));
  define('stop <name>', 'power off, at once; the disk stays', (manage, name, flags) => manage.stopNode(name, flags));
  define('partition <name>', "pull the node's cable: it runs on, and nobody hears of it", (manage, name, flags) =>
    manage.setPartitioned(name, true, flags),
  );
  define('heal <name>', 'put the cable in again', (manage, name, flags) => manage.setPartitioned(name, false, flags));
  node
    .command('list')
    .description('the further nodes of this machine')
    .option(...ROOT_DIR)
    .option('-o, --output <format>', 'json')
    .action(async (flags: { rootDir: string; output?: string }) => {
      const { listNodes } = await import('../nodes/manage.ts');
      listNodes(flags);
    });
  // What `add` and the daemon start, detached; a folder names the cluster and the node.
  node
    .command('keep <folder>', { hidden: true })
    .description('be such a node, until killed')
    .action(async (folder: string) => {
      const { keepNode } = await import('../nodes/keeper.ts');
      const { knownCluster } = await import('../cluster/known-cluster.ts');
      const { abortOnSignals, createContext } = await import('../roots/context.ts');
      const settings = knownCluster(dirname(dirname(folder)));
      await keepNode(settings, basename(folder), createContext(), abortOnSignals());
    });
}

import type { Command } from 'commander';

/** `berth overlay`: routes between the nodes' pods, with credentials of its own. */
export function defineOverlay(program: Command): void {
  program
    .command('overlay')
    .description("run the routes between the nodes' pods alone (flanneld's job)")
    .requiredOption('--kubeconfig <file>', 'credentials at the API server')
    .option('--node-name <name>', "the node's name (default: the host name)")
    .option('--backend <name>', 'host-gw: plain routes between nodes of one L2 network', 'host-gw')
    .option('--bridge <name>', 'the bridge that pods hang on', 'cni0')
    .option('-v, --verbose', 'log more')
    .action(async (values) => {
      const { runOverlayDaemon } = await import('../daemon/node-daemons.ts');
      await runOverlayDaemon(values);
    });
}

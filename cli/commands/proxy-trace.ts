import type { Command } from 'commander';
import { DEFAULT_ROOT_DIR } from '../settings.ts';
import { overridesOf } from './node-flags.ts';

/** `berth proxy trace`: a subcommand of the proxy; it takes the proxy's own flags too, and of a running one asks them. */
export function defineProxyTrace(proxy: Command, proxyFlags: Parameters<typeof overridesOf>[0]): void {
  proxy
    .command('trace')
    .description('show which rules of this node a packet would meet, where it may end, and why; changes nothing')
    .argument('<destination>', 'IP:PORT, or SERVICE:PORT (NAMESPACE/SERVICE too); /udp or /sctp where it is not TCP')
    .option('--from <source>', 'a pod of this node (NAME or NAMESPACE/NAME), an address or CIDR, or "node"', 'node')
    .option('-n, --namespace <name>', 'of names that tell none', 'default')
    .option('--no-kernel', "don't compare with the rules that the kernel holds")
    .option('--cluster-dir <dir>', "root directory of 'berth up', for its kubeconfig", DEFAULT_ROOT_DIR)
    .option('-o, --output <format>', 'json or yaml, for programs')
    .action(async (destination: string, _flags: unknown, command: Command) => {
      const values = command.optsWithGlobals();
      const { traceCommand } = await import('../proxy-trace/trace.ts');
      await traceCommand(destination, {
        from: values.from,
        namespace: values.namespace,
        kernel: values.kernel,
        clusterDir: values.clusterDir,
        output: values.output,
        config: values.config,
        kubeconfig: values.kubeconfig,
        nodeName: values.nodeName ?? values.hostnameOverride,
        overrides: overridesOf(proxyFlags, values),
      });
    });
}

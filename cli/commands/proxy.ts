import { type Command, Option } from 'commander';
import { overridesOf } from './node-flags.ts';
import { PROXY_FLAGS } from './proxy-flags.ts';
import { defineProxyTrace } from './proxy-trace.ts';

/** `berth proxy`: the service proxy (kube-proxy's job). */
export function defineProxy(program: Command): void {
  const command = program
    .command('proxy')
    .description("run the service proxy alone (kube-proxy's job)")
    .option('--config <file>', 'a KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1)')
    .option('--kubeconfig <file>', 'credentials at the API server (default: clientConnection.kubeconfig of --config)')
    .option('--node-name <name>', "the node's name (default: hostnameOverride of --config, else the host name)")
    .addOption(new Option('--hostname-override <name>', "upstream's name of --node-name").hideHelp())
    .option('--root-dir <dir>', 'where it remembers what the host was like before', '/var/lib/berth-proxy')
    .option('--cleanup', 'remove everything that the proxy, in whichever mode, has put into the kernel, and exit')
    .option(
      '--init-only',
      'do what needs full root (sizes of the connection tracking table, the kernel settings of mode ipvs), and exit',
    )
    .option('--write-config-to <file>', 'write the configuration that results, with every default, and exit')
    .option('-v, --verbose', 'log more');
  for (const [flag, , text] of PROXY_FLAGS) command.option(flag, text);
  defineProxyTrace(command, PROXY_FLAGS);
  command.action(async (values) => {
    const { runProxyDaemon } = await import('../daemon/proxy-daemon.ts');
    await runProxyDaemon({
      ...values,
      nodeName: values.nodeName ?? values.hostnameOverride,
      overrides: overridesOf(PROXY_FLAGS, values),
    });
  });
}

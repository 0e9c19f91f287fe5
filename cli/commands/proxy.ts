import { type Command, Option } from 'commander';
import { overridesOf } from './node-flags.ts';
import { defineProxyTrace } from './proxy-trace.ts';

const PROXY_FLAGS: [flag: string, field: string, text: string][] = [
  ['--cluster-cidr <cidr>', 'clusterCIDR', 'the addresses of all pods'],
  ['--proxy-mode <mode>', 'mode', 'iptables'],
  ['--bind-address <ip>', 'bindAddress', "the node's address for the proxy"],
  ['--healthz-bind-address <ip:port>', 'healthzBindAddress', 'where /healthz listens'],
  ['--metrics-bind-address <ip:port>', 'metricsBindAddress', 'where /metrics listens'],
];

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
    .option('--cleanup', 'remove the rules of the proxy and exit')
    .option('-v, --verbose', 'log more');
  for (const [flag, , text] of PROXY_FLAGS) command.option(flag, text);
  defineProxyTrace(command, PROXY_FLAGS);
  command.action(async (values) => {
    const { runProxyDaemon } = await import('../daemon/node-daemons.ts');
    await runProxyDaemon({
      ...values,
      nodeName: values.nodeName ?? values.hostnameOverride,
      overrides: overridesOf(PROXY_FLAGS, values),
    });
  });
}

import { type Command, Option } from 'commander';
import { DEFAULT_ROOT_DIR } from '../settings.ts';
import { defineMachineNodes } from './machine-nodes.ts';
import { addNodeFlags, readNodeFlags } from './node-flags.ts';

/** `berth node`: agent, proxy and network in one process, for a control plane elsewhere. */
export function defineNode(program: Command): void {
  const command = addNodeFlags(
    program.command('node').description('run agent, proxy and network in one process, for a control plane elsewhere'),
  )
    .option('--proxy-config <file>', 'a KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1)')
    .option('--proxy-kubeconfig <file>', "the proxy's own credentials (system:kube-proxy; default: the node's)")
    .option('--overlay-kubeconfig <file>', "the routes' own credentials (must read all nodes; default: the node's)")
    .option(
      '--overlay-backend <name>',
      "between the nodes' pods: host-gw (plain routes, the default), vxlan, wireguard, …, or none; the docs name all",
    )
    .addOption(new Option('--backend <name>', 'the same').hideHelp())
    .option('--net-config-path <file>', "flannel's net-conf.json: a backend with its options")
    .option('--proxy-healthz-bind-address <ip:port>', "where the proxy's /healthz listens")
    .option('--proxy-metrics-bind-address <ip:port>', "where the proxy's /metrics listens")
    .option('--cleanup', 'remove the pods, rules and links of this node and exit')
    .action(async (values) => {
      const { cleanUpNode, runNodeDaemon } = await import('../daemon/node-daemons.ts');
      const flags = {
        ...readNodeFlags(values),
        proxyConfig: values.proxyConfig,
        proxyKubeconfig: values.proxyKubeconfig,
        overlayKubeconfig: values.overlayKubeconfig,
        backend: values.overlayBackend ?? values.backend,
        netConfigPath: values.netConfigPath,
        proxyHealthz: values.proxyHealthzBindAddress,
        proxyMetrics: values.proxyMetricsBindAddress,
      };
      if (values.cleanup) await cleanUpNode(flags);
      else await runNodeDaemon(flags);
    });
  defineMachineNodes(command);
  command
    .command('kubeconfig')
    .description('print a kubeconfig for another node of this cluster; it holds a key: keep it in a file of mode 0600')
    .argument('<name>', "the other node's name")
    .option('--node-ip <ip>', "the other node's address, for the certificate of its HTTPS port")
    .option('--for <identity>', 'node, proxy or overlay', 'node')
    .option('--cluster-root-dir <dir>', "the cluster's root directory on this host", DEFAULT_ROOT_DIR)
    .action(async (name: string, options: { nodeIp?: string; for: string; clusterRootDir: string }) => {
      const { nodeKubeconfig } = await import('../cluster/node-kubeconfig.ts');
      process.stdout.write(await nodeKubeconfig({ ...options, name, rootDir: options.clusterRootDir }));
    });
  command
    .command('config')
    .description('print a KubeletConfiguration for other nodes of this cluster: DNS, leases')
    .option('--cluster-root-dir <dir>', "the cluster's root directory on this host", DEFAULT_ROOT_DIR)
    .action(async (options: { clusterRootDir: string }) => {
      const { knownCluster } = await import('../cluster/known-cluster.ts');
      const { renderNodeConfig } = await import('../cluster/node-config.ts');
      process.stdout.write(renderNodeConfig(knownCluster(options.clusterRootDir)));
    });
}

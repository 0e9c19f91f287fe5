import { type Command, Option } from 'commander';
import { CNI_FLAGS } from '../cni/flags.ts';
import { DEFAULT_ROOT_DIR } from '../settings.ts';
import { type UpFlags, upDefaults } from '../settings-from-flags.ts';
import { IMAGE_FLAGS } from './image-flags.ts';

/** `berth up`: a working cluster on this host. */
export function defineUp(program: Command): void {
  const command = program
    .command('up')
    .description('bring up a cluster on this host')
    .option('--root-dir <dir>', 'state: store, certificates, volumes, Engine data', DEFAULT_ROOT_DIR)
    .option('--run-dir <dir>', 'pid files and sockets (default: /run/berth, or run below the root directory)')
    .option('--log-dir <dir>', 'log files (default: /var/log/berth, or log below the root directory)')
    .option('--write-kubeconfig <file>', "the admin's kubeconfig (default: kubeconfig below the root directory)")
    .option('--node-name <name>', "the node's name (default: the host name)")
    .option(
      '--node-ip <ip[,ipv6]>',
      "the node's address (default: that of the default route's interface); an IPv6 one may follow behind a comma",
    )
    .option(
      '--docker-endpoint <unix://socket>',
      "a Docker Engine to use (default: the host's if it answers, else one of Berth's own)",
    );
  command.option(
    '--kubelet-config <file>',
    "a KubeletConfiguration for the node agent; this command's options stand above it",
  );
  command.option(
    '--kubelet-config-dir <dir>',
    'drop-ins for it: *.conf files that are laid over it, in the order of their names',
  );
  for (const [flag, text, fallback] of [...IMAGE_FLAGS, ...CNI_FLAGS]) command.option(flag, text, fallback);
  command.option(
    '--cni-cache-dir <dir>',
    'what is attached is kept in results below it (default: cni below the root directory)',
  );
  command.option(
    '--overlay-backend <name>',
    "between the nodes' pods: host-gw (plain routes, the default), vxlan, wireguard, …, or none; the docs name all",
  );
  command.option('--net-config-path <file>', "flannel's net-conf.json: a backend with its options");
  const numbers: [string, keyof typeof upDefaults, string][] = [
    ['--pod-cidr <cidr>', 'podCidr', "the pods' addresses; with an IPv6 range behind a comma, pods have both"],
    ['--service-cidr <cidr>', 'serviceCidr', "the services' addresses; with an IPv6 range behind a comma, dual-stack"],
    ['--nodes <n>', 'nodes', 'nodes of the cluster: this machine, and further ones in namespaces of it'],
    ['--nodes-network <cidr>', 'nodesNetwork', 'the addresses of further nodes'],
    ['--cluster-domain <name>', 'clusterDomain', "the cluster's DNS domain"],
    ['--bridge <name>', 'bridge', 'the bridge that pods hang on'],
    ['--cgroup-root <path>', 'cgroupRoot', 'the cgroup below which kubepods lives'],
    [
      '--pod-runtime <name>',
      'podRuntime',
      "pods' OCI runtime: auto (berth, if the Engine has it), none, or one of the Engine's",
    ],
    ['--pod-infra-container-image <image>', 'podInfraContainerImage', 'the pause image'],
    ['--api-port <port>', 'apiPort', 'the API server'],
    ['--agent-port <port>', 'agentPort', "the node agent's API"],
    ['--agent-health-port <port>', 'agentHealthPort', "the node agent's /healthz, on loopback"],
    ['--proxy-mode <mode>', 'proxyMode', 'iptables, nftables, ipvs, userspace, or auto: the best that the host can do'],
    ['--proxy-health-port <port>', 'proxyHealthPort', "the proxy's /healthz"],
    ['--proxy-metrics-port <port>', 'proxyMetricsPort', "the proxy's /metrics, on loopback"],
    ['--dns-port <port>', 'dnsPort', "the cluster's DNS server"],
    ['--dns-metrics-port <port>', 'dnsMetricsPort', "the DNS server's /metrics and /ready"],
    ['--node-monitor-period <duration>', 'nodeMonitorPeriod', 'how often silent nodes are looked for'],
    ['--node-monitor-grace-period <duration>', 'nodeMonitorGracePeriod', 'a node silent for so long is not ready'],
    [
      '--default-not-ready-toleration-seconds <n>',
      'defaultNotReadyTolerationSeconds',
      'how long pods stay on a node that is not ready, unless they say',
    ],
    [
      '--default-unreachable-toleration-seconds <n>',
      'defaultUnreachableTolerationSeconds',
      'how long pods stay on a node that fell silent, unless they say',
    ],
  ];
  for (const [flag, key, text] of numbers) command.addOption(new Option(flag, text).default(upDefaults[key]));
  command.action(async (flags: UpFlags) => {
    const { up } = await import('../cluster/up.ts');
    await up(flags);
  });
}

import { type Command, Option } from 'commander';
import type { ConfigFlag } from '../../src/config/load.ts';
import { CNI_FLAGS, nodeCniDefaults } from '../cni/flags.ts';
import { PAUSE_IMAGE } from '../images/catalog.ts';
import type { NodeDaemonFlags } from '../roots/standalone.ts';
import { CONTAINER_GC_FLAGS } from './container-gc-flags.ts';
import { EVICTION_FLAGS } from './eviction-flags.ts';
import { IMAGE_FLAGS } from './image-flags.ts';
import { RESOURCE_MANAGER_FLAGS } from './resource-manager-flags.ts';

/** Kubelet flags and the KubeletConfiguration fields that they stand above. */
const KUBELET_FLAGS: [flag: string, field: string, text: string][] = [
  ['--address <ip>', 'address', 'where the HTTPS port listens'],
  ['--port <port>', 'port', 'the HTTPS port'],
  ['--healthz-bind-address <ip>', 'healthzBindAddress', 'where /healthz listens'],
  ['--healthz-port <port>', 'healthzPort', '0 turns it off'],
  ['--cluster-dns <ips>', 'clusterDNS', 'name servers for pods, commas between'],
  ['--cluster-domain <name>', 'clusterDomain', "the cluster's DNS domain"],
  ['--cgroup-root <path>', 'cgroupRoot', 'the cgroup below which kubepods lives'],
  ['--cpu-cfs-quota <bool>', 'cpuCFSQuota', 'hold containers to their CPU limits'],
  ['--cpu-cfs-quota-period <duration>', 'cpuCFSQuotaPeriod', 'over which CPU limits are counted'],
  ['--pod-max-pids <n>', 'podPidsLimit', 'processes a pod may have; -1: no limit'],
  ['--kube-reserved <name=amount>', 'kubeReserved', "what Kubernetes' daemons keep, commas between"],
  ['--system-reserved <name=amount>', 'systemReserved', 'what the rest of the system keeps'],
  ['--kube-reserved-cgroup <path>', 'kubeReservedCgroup', 'where those daemons are'],
  ['--system-reserved-cgroup <path>', 'systemReservedCgroup', 'where the rest of the system is'],
  [
    '--enforce-node-allocatable <names>',
    'enforceNodeAllocatable',
    'what is limited: pods, system-reserved, …, or none',
  ],
  ['--qos-reserved <memory=percent>', 'qosReserved', "share of other pods' memory requests that lower classes leave"],
  ...RESOURCE_MANAGER_FLAGS,
  ...EVICTION_FLAGS,
  ['--fail-swap-on <bool>', 'failSwapOn', 'refuse to start where swap is on'],
  ['--oom-score-adj <n>', 'oomScoreAdj', "the agent's own oom_score_adj"],
  ['--feature-gates <name=bool>', 'featureGates', 'feature gates, commas between'],
  ['--pod-manifest-path <path>', 'staticPodPath', 'file or folder of static pods'],
  ['--manifest-url <url>', 'staticPodURL', 'where static pods are fetched from: a Pod or a PodList'],
  ['--manifest-url-header <name:value>', 'staticPodURLHeader', 'headers for it, commas between'],
  [
    '--file-check-frequency <duration>',
    'fileCheckFrequency',
    'how often files are read when nothing says that they changed',
  ],
  ['--http-check-frequency <duration>', 'httpCheckFrequency', 'how often the URL is asked'],
  ['--pod-cidr <cidr>', 'podCIDR', "the pods' addresses on this node when no API server gives them"],
  ['--registry-qps <n>', 'registryPullQPS', 'image pulls a second; 0: no limit'],
  ['--registry-burst <n>', 'registryBurst', 'image pulls at once, above that'],
  ['--serialize-image-pulls <bool>', 'serializeImagePulls', 'one image pull after another'],
  [
    '--image-gc-high-threshold <percent>',
    'imageGCHighThresholdPercent',
    'images are removed from this use of the disk on',
  ],
  ['--image-gc-low-threshold <percent>', 'imageGCLowThresholdPercent', 'down to this use'],
  ['--minimum-image-ttl-duration <duration>', 'imageMinimumGCAge', 'an unused image stays for so long at least'],
  ['--container-log-max-size <quantity>', 'containerLogMaxSize', 'a log is rotated at this size'],
  ['--container-log-max-files <n>', 'containerLogMaxFiles', 'files of a log that stay'],
  ['--max-pods <n>', 'maxPods', 'how many pods may run'],
  ['--rotate-certificates <bool>', 'rotateCertificates', 'renew the client certificate before it ends'],
  ['--client-ca-file <file>', 'authentication.x509.clientCAFile', "who signs clients' certificates"],
  ['--tls-cert-file <file>', 'tlsCertFile', "the HTTPS port's certificate"],
  ['--tls-private-key-file <file>', 'tlsPrivateKeyFile', 'and its key'],
];

/** Flags of `berth agent` and `berth node`. */
export function addNodeFlags(command: Command): Command {
  command
    .option('--config <file>', 'a KubeletConfiguration (kubelet.config.k8s.io/v1beta1)')
    .option('--config-dir <dir>', 'drop-ins: *.conf files that are laid over it, in the order of their names')
    .option('--kubeconfig <file>', "the node's credentials at the API server")
    .option(
      '--bootstrap-kubeconfig <file>',
      "credentials to ask for the node's own with, which are then written to --kubeconfig",
    )
    .option('--cert-dir <dir>', "the node's certificates (default: pki below the root directory)")
    .option('--node-name <name>', "the node's name (default: the host name)")
    .addOption(new Option('--hostname-override <name>', "upstream's name of --node-name").hideHelp())
    .option(
      '--node-ip <ips>',
      "the node's address, or one of each family, commas between (default: that of the default route's interface)",
    )
    .option('--node-labels <labels>', 'labels of the node beside its own: key=value, commas between')
    .option(
      '--cloud-provider <name>',
      "external: a cloud's controller in the cluster completes the node before pods come",
    )
    .option('--root-dir <dir>', "pods' directories and other state", '/var/lib/berth-node')
    .option('--docker-endpoint <unix://socket>', 'the Docker Engine', 'unix:///var/run/docker.sock')
    .option(
      '--pod-runtime <name>',
      "pods' OCI runtime: auto (berth, if the Engine has it), none, or one of the Engine's",
      'auto',
    )
    .option('--pod-infra-container-image <image>', 'the pause image', PAUSE_IMAGE)
    .option('--pod-logs-dir <dir>', 'where log links go', '/var/log/pods')
    .option('--cluster-cidr <cidr>', 'the addresses of all pods', '10.244.0.0/16')
    .option('--service-cidr <cidr>', 'the addresses of all services', '10.96.0.0/12')
    .option('--bridge <name>', 'the bridge that pods hang on', 'cni0')
    .option('-v, --verbose', 'log more');
  for (const [flag, text, fallback] of [...IMAGE_FLAGS, ...CONTAINER_GC_FLAGS, ...CNI_FLAGS])
    command.option(flag, text, fallback);
  command.option('--cni-cache-dir <dir>', 'what is attached is kept in results below it', nodeCniDefaults.cniCacheDir);
  for (const [flag, , text] of KUBELET_FLAGS) command.option(flag, text);
  return command;
}

/** The parsed flags, with those that are configuration fields set apart. */
export function readNodeFlags(values: Record<string, string | undefined>): NodeDaemonFlags {
  return {
    ...(values as unknown as NodeDaemonFlags),
    nodeName: values.nodeName ?? values.hostnameOverride,
    overrides: overridesOf(KUBELET_FLAGS, values),
  };
}

export function overridesOf(
  table: [flag: string, field: string, text: string][],
  values: Record<string, string | undefined>,
): ConfigFlag[] {
  return table.flatMap(([definition, field]) => {
    const flag = definition.split(' ')[0] ?? '';
    const value = values[flag.slice(2).replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())];
    return value === undefined ? [] : [{ flag, field, value }];
  });
}

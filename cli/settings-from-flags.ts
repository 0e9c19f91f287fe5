import { isIPv4 } from 'node:net';
import { hostname } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { parseGoDurationMs } from '../src/config/duration.ts';
import { cidrsOf } from './cluster/addresses.ts';
import { cniDefaults, parseCniMode } from './cni/flags.ts';
import { DEFAULT_PULL_PROGRESS_DEADLINE, type ImageFlags } from './commands/image-flags.ts';
import { enginePings } from './engine/ping.ts';
import { POD_RUNTIME_AUTO } from './engine/pod-runtime.ts';
import { PAUSE_IMAGE } from './images/catalog.ts';
import { UserError } from './output/failure.ts';
import { parseNodeIps } from './preflight/node-identity.ts';
import { detectIpv6Beside, detectNodeIp } from './preflight/node-ip.ts';
import { checkBackendOptions, readOverlaySource } from './roots/overlay-settings.ts';
import { DEFAULT_ROOT_DIR, PROXY_MODES, type Settings } from './settings.ts';

/** The Engine of a host that has one. */
const HOST_ENGINE_SOCKET = '/var/run/docker.sock';

export interface UpFlags {
  rootDir: string;
  runDir?: string;
  logDir?: string;
  writeKubeconfig?: string;
  nodeName?: string;
  nodeIp?: string;
  dockerEndpoint?: string;
  podRuntime: string;
  kubeletConfig?: string;
  kubeletConfigDir?: string;
  imageCredentialProviderConfig?: string;
  imageCredentialProviderBinDir?: string;
  imagePullProgressDeadline: string;
  cgroupRoot: string;
  podCidr: string;
  serviceCidr: string;
  nodes: string;
  nodesNetwork: string;
  clusterDomain: string;
  bridge: string;
  apiPort: string;
  agentPort: string;
  agentHealthPort: string;
  proxyMode: string;
  proxyHealthPort: string;
  proxyMetricsPort: string;
  dnsPort: string;
  dnsMetricsPort: string;
  nodeMonitorPeriod: string;
  nodeMonitorGracePeriod: string;
  defaultNotReadyTolerationSeconds: string;
  defaultUnreachableTolerationSeconds: string;
  podInfraContainerImage: string;
  overlayBackend?: string;
  netConfigPath?: string;
  cni: string;
  cniConfDir: string;
  cniBinDir: string;
  cniCacheDir?: string;
}

/** Flags → complete settings. Looks at the host (name, address, Engine) and changes nothing. */
export async function settingsFromFlags(flags: UpFlags, previous: Settings | undefined): Promise<Settings> {
  const rootDir = absolute('--root-dir', flags.rootDir);
  const standard = rootDir === DEFAULT_ROOT_DIR;
  return {
    rootDir,
    runDir: absolute('--run-dir', flags.runDir ?? (standard ? '/run/berth' : join(rootDir, 'run'))),
    logDir: absolute('--log-dir', flags.logDir ?? (standard ? '/var/log/berth' : join(rootDir, 'log'))),
    kubeconfig: absolute('--write-kubeconfig', flags.writeKubeconfig ?? join(rootDir, 'kubeconfig')),
    nodeName: nodeName(flags.nodeName ?? hostname()),
    ...(await nodeIps(flags)),
    dockerEndpoint: flags.dockerEndpoint ?? (await chooseEngine(previous)),
    podRuntime: flags.podRuntime,
    ...(await kubeletSettings(flags)),
    cgroupRoot: flags.cgroupRoot,
    podCidr: flags.podCidr,
    serviceCidr: flags.serviceCidr,
    nodesNetwork: flags.nodesNetwork,
    clusterDomain: flags.clusterDomain,
    bridge: flags.bridge,
    apiPort: port('--api-port', flags.apiPort),
    agentPort: port('--agent-port', flags.agentPort),
    agentHealthPort: port('--agent-health-port', flags.agentHealthPort),
    proxyMode: proxyMode(flags.proxyMode),
    proxyHealthPort: port('--proxy-health-port', flags.proxyHealthPort),
    proxyMetricsPort: port('--proxy-metrics-port', flags.proxyMetricsPort),
    dnsPort: port('--dns-port', flags.dnsPort),
    dnsMetricsPort: port('--dns-metrics-port', flags.dnsMetricsPort),
    ...monitoring(flags),
    defaultNotReadyTolerationSeconds: seconds(
      '--default-not-ready-toleration-seconds',
      flags.defaultNotReadyTolerationSeconds,
    ),
    defaultUnreachableTolerationSeconds: seconds(
      '--default-unreachable-toleration-seconds',
      flags.defaultUnreachableTolerationSeconds,
    ),
    manifestDir: join(rootDir, 'manifests'),
    podLogsDir: standard ? '/var/log/pods' : join(rootDir, 'logs/pods'),
    cniDataDir: join(rootDir, 'cni/networks'),
    ...(await overlaySettings(flags, previous)),
    cni: parseCniMode(flags.cni),
    cniConfDir: absolute('--cni-conf-dir', flags.cniConfDir),
    cniBinDir: flags.cniBinDir,
    ...(flags.cniCacheDir && { cniCacheDir: absolute('--cni-cache-dir', flags.cniCacheDir) }),
    pauseImage: flags.podInfraContainerImage,
  };
}

export const upDefaults = {
  cgroupRoot: '/',
  podCidr: '10.244.0.0/16',
  serviceCidr: '10.96.0.0/12',
  nodes: '1',
  nodesNetwork: '172.29.77.0/24',
  clusterDomain: 'cluster.local',
  bridge: 'cni0',
  apiPort: '6443',
  agentPort: '10250',
  agentHealthPort: '10248',
  proxyMode: 'iptables',
  proxyHealthPort: '10256',
  proxyMetricsPort: '10249',
  dnsPort: '10053',
  dnsMetricsPort: '9153',
  nodeMonitorPeriod: '5s',
  nodeMonitorGracePeriod: '50s',
  defaultNotReadyTolerationSeconds: '300',
  defaultUnreachableTolerationSeconds: '300',
  podRuntime: POD_RUNTIME_AUTO,
  imagePullProgressDeadline: DEFAULT_PULL_PROGRESS_DEADLINE,
  podInfraContainerImage: PAUSE_IMAGE,
  ...cniDefaults,
};

/** A second one, IPv6, is for clusters whose pods have IPv6 addresses: the one beside the first unless it is given. */
async function nodeIps({ nodeIp: text, podCidr }: UpFlags): Promise<Pick<Settings, 'nodeIp' | 'nodeIp6'>> {
  const [nodeIp = '', given] = text === undefined ? [await detectNodeIp()] : parseNodeIps(text);
  if (!isIPv4(nodeIp))
    throw new UserError(`--node-ip ${text}: the first address must be IPv4; an IPv6 one may follow behind a comma`);
  const hasIpv6Pods = cidrsOf(podCidr).some((cidr) => cidr.includes(':'));
  const nodeIp6 = given ?? (hasIpv6Pods ? detectIpv6Beside(nodeIp) : undefined);
  if (hasIpv6Pods && nodeIp6 === undefined)
    throw new UserError(
      `--pod-cidr ${podCidr}: nodes of IPv6 pods need an IPv6 address too, and the link with ${nodeIp} has none: give it one ('ip address add'), or name one with --node-ip ${nodeIp},IPV6`,
    );
  return { nodeIp, ...(nodeIp6 !== undefined && { nodeIp6 }) };
}

/** Checked here, where somebody sees what is wrong with it; the file is read again by the daemon. */
async function overlaySettings(
  { overlayBackend, netConfigPath, podCidr }: UpFlags,
  previous: Settings | undefined,
): Promise<Pick<Settings, 'overlayBackend' | 'netConfigPath'>> {
  // Nodes of a cluster keep what connects them until they are told otherwise.
  if (overlayBackend === undefined && netConfigPath === undefined)
    return previous?.podCidr === podCidr
      ? { overlayBackend: previous.overlayBackend, netConfigPath: previous.netConfigPath }
      : {};
  const file = netConfigPath && absolute('--net-config-path', netConfigPath);
  if (overlayBackend !== 'none') {
    const conf = readOverlaySource({ backend: overlayBackend, netConfigPath: file, clusterCidr: podCidr }, () => {});
    const said = Object.values(conf.networks).join(',');
    if (file && said !== podCidr)
      throw new UserError(
        `--net-config-path ${file}: its network is ${said}, the cluster's pods have --pod-cidr ${podCidr}`,
      );
    await checkBackendOptions(conf);
  }
  return { ...(overlayBackend && { overlayBackend }), ...(file && { netConfigPath: file }) };
}

/** A cluster that runs keeps what connects its nodes. @throws UserError where the flags say something else. */
export function checkOverlayIsKept({ overlayBackend, netConfigPath }: UpFlags, running: Settings): void {
  if (netConfigPath !== undefined && netConfigPath !== running.netConfigPath)
    throw new UserError(
      `--net-config-path ${netConfigPath}: the cluster runs with ${running.netConfigPath ?? 'no such file'}. ${OTHER_OVERLAY}`,
    );
  if (overlayBackend === undefined) return;
  const source = {
    backend: running.overlayBackend,
    netConfigPath: running.netConfigPath,
    clusterCidr: running.podCidr,
  };
  const runs = running.overlayBackend === 'none' ? 'none' : readOverlaySource(source, () => {}).backend.type;
  if (overlayBackend !== runs)
    throw new UserError(`--overlay-backend ${overlayBackend}: the cluster runs with ${runs}. ${OTHER_OVERLAY}`);
}

const OTHER_OVERLAY = "To change it: 'berth down', which keeps all objects, and 'berth up' with the other one.";

/** Files that only the daemon reads: checked here, where somebody sees what is wrong with them. */
async function kubeletSettings(flags: UpFlags) {
  const path = (
    key: 'kubeletConfig' | 'kubeletConfigDir' | 'imageCredentialProviderConfig' | 'imageCredentialProviderBinDir',
    flag: string,
  ) => {
    const value = flags[key];
    return value === undefined ? {} : { [key]: absolute(flag, value) };
  };
  const settings: Pick<Settings, 'kubeletConfig' | 'kubeletConfigDir' | keyof ImageFlags> = {
    ...path('kubeletConfig', '--kubelet-config'),
    ...path('kubeletConfigDir', '--kubelet-config-dir'),
    ...path('imageCredentialProviderConfig', '--image-credential-provider-config'),
    ...path('imageCredentialProviderBinDir', '--image-credential-provider-bin-dir'),
    imagePullProgressDeadline: flags.imagePullProgressDeadline,
  };
  if (Object.keys(settings).length === 1 && settings.imagePullProgressDeadline === DEFAULT_PULL_PROGRESS_DEADLINE)
    return settings;
  // Only for those who give files: a plain `up` shall not wait for it.
  const { kubeletConfiguration } = await import('../agent/config/kubelet-configuration.ts');
  const { loadConfig } = await import('../src/config/load.ts');
  const { imageSettings } = await import('./roots/image-settings.ts');
  const config = loadConfig(kubeletConfiguration, {
    file: settings.kubeletConfig,
    dropInDir: settings.kubeletConfigDir,
  });
  imageSettings(config, settings);
  return settings;
}

/** A cluster keeps the Engine that its containers are in; a new one takes the host's if that answers, else gets its own. */
async function chooseEngine(previous: Settings | undefined): Promise<string | undefined> {
  if (previous) return previous.dockerEndpoint;
  return (await enginePings(HOST_ENGINE_SOCKET)) ? `unix://${HOST_ENGINE_SOCKET}` : undefined;
}

function absolute(flag: string, path: string): string {
  if (!isAbsolute(path)) throw new UserError(`${flag} ${path}: must be an absolute path`);
  return path.length > 1 ? path.replace(/\/+$/, '') : path;
}

function proxyMode(text: string): Settings['proxyMode'] {
  const mode = PROXY_MODES.find((one) => one === text);
  if (mode) return mode;
  throw new UserError(`--proxy-mode ${text}: one of ${PROXY_MODES.join(', ')}`);
}

function port(flag: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 65535)
    throw new UserError(`${flag} ${text}: must be a port number, 1 to 65535`);
  return value;
}

/** Below this, a node could not renew its lease (1 s at least) in time. */
const LEAST_GRACE_MS = 2000;

function monitoring(flags: UpFlags): Pick<Settings, 'nodeMonitorPeriodMs' | 'nodeMonitorGracePeriodMs'> {
  const nodeMonitorPeriodMs = duration('--node-monitor-period', flags.nodeMonitorPeriod);
  const nodeMonitorGracePeriodMs = duration('--node-monitor-grace-period', flags.nodeMonitorGracePeriod);
  if (nodeMonitorGracePeriodMs < LEAST_GRACE_MS)
    throw new UserError(
      `--node-monitor-grace-period ${flags.nodeMonitorGracePeriod}: nodes need at least 2s to renew their lease`,
    );
  if (nodeMonitorGracePeriodMs <= nodeMonitorPeriodMs)
    throw new UserError(
      `--node-monitor-grace-period ${flags.nodeMonitorGracePeriod}: must be longer than --node-monitor-period ${flags.nodeMonitorPeriod}`,
    );
  return { nodeMonitorPeriodMs, nodeMonitorGracePeriodMs };
}

function duration(flag: string, text: string): number {
  const value = parseGoDurationMs(text);
  if (value === undefined || value <= 0) throw new UserError(`${flag} ${text}: must be a duration such as 5s or 1m30s`);
  return value;
}

function seconds(flag: string, text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value))
    throw new UserError(`${flag} ${text}: must be a whole number of seconds, 0 or more`);
  return value;
}

/** A node's name is a DNS-1123 subdomain; host names may have capitals. */
export function nodeName(text: string, from = '--node-name'): string {
  const name = text.toLowerCase();
  if (!/^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/.test(name) || name.length > 253) {
    throw new UserError(
      `${from} ${text}: a node's name is made of lower-case letters, digits, '-' and '.', and begins and ends with a letter or digit`,
    );
  }
  return name;
}

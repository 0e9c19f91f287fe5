import { chmodSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { CNI_MODES } from '../cni/invoke/network-choice.ts';
import type { NodePlaces } from './cluster/remove-node.ts';
import { UserError } from './output/failure.ts';

/** Of the service proxy; auto is the best that the host can do. */
export const PROXY_MODES = ['iptables', 'nftables', 'ipvs', 'userspace', 'auto'] as const;

/**
 * What `berth up` was told, complete with defaults: recorded below the root directory, so that the daemon, `status` and `down` mean the
 * same cluster. Everything that could meet another node on this machine is in here.
 */
export const settingsSchema = z.strictObject({
  /** State that outlives a reboot: store, certificates, pods' volumes, the Engine's data. */
  rootDir: z.string(),
  /** State that doesn't: pid files and sockets. */
  runDir: z.string(),
  logDir: z.string(),
  /** The admin's kubeconfig (0600). */
  kubeconfig: z.string(),
  nodeName: z.string(),
  nodeIp: z.string(),
  /** Where pods have IPv6 addresses too, and the node has one. */
  nodeIp6: z.string().optional(),
  /** `unix://…` of an Engine that is used as it is; absent: Berth runs one of its own. */
  dockerEndpoint: z.string().optional(),
  /** The OCI runtime of pods' containers: `auto`, `none`, or one that the Engine knows. */
  podRuntime: z.string().default('auto'),
  /** A KubeletConfiguration of the user's; what other settings say stands above it. */
  kubeletConfig: z.string().optional(),
  /** Folder of drop-ins above it. */
  kubeletConfigDir: z.string().optional(),
  imageCredentialProviderConfig: z.string().optional(),
  imageCredentialProviderBinDir: z.string().optional(),
  imagePullProgressDeadline: z.string().default('1m0s'),
  cgroupRoot: z.string(),
  podCidr: z.string(),
  serviceCidr: z.string(),
  /** Where further nodes of this machine have their addresses, and the machine one among them. */
  nodesNetwork: z.string().default('172.29.77.0/24'),
  clusterDomain: z.string(),
  bridge: z.string(),
  apiPort: z.number(),
  agentPort: z.number(),
  agentHealthPort: z.number(),
  proxyMode: z.enum(PROXY_MODES).default('iptables'),
  proxyHealthPort: z.number(),
  proxyMetricsPort: z.number(),
  /** Where the cluster's DNS server listens on the node's address; pods reach it by the Service kube-dns. */
  dnsPort: z.number().default(10053),
  dnsMetricsPort: z.number().default(9153),
  /** How often silent nodes are looked for, and after how long a silence a node is given up. */
  nodeMonitorPeriodMs: z.number().default(5000),
  nodeMonitorGracePeriodMs: z.number().default(50_000),
  /** How long pods that don't say so stay on a node that is not ready, or silent. */
  defaultNotReadyTolerationSeconds: z.number().default(300),
  defaultUnreachableTolerationSeconds: z.number().default(300),
  /** Static pods' manifests. */
  manifestDir: z.string(),
  /** Where container log links go (`/var/log/pods`). */
  podLogsDir: z.string(),
  /** Leases of the built-in pod network. */
  cniDataDir: z.string(),
  /** Between the pods of the nodes; absent: what the net-conf.json says, else host-gw. `none`: somebody else sees to it. */
  overlayBackend: z.string().optional(),
  /** flannel's net-conf.json. */
  netConfigPath: z.string().optional(),
  /** Which network pods get: a configuration of the host, or the built-in one. */
  cni: z.enum(CNI_MODES).default('auto'),
  cniConfDir: z.string().default('/etc/cni/net.d'),
  /** Commas between. */
  cniBinDir: z.string().default('/opt/cni/bin'),
  /** Absent: beside the leases. */
  cniCacheDir: z.string().optional(),
  pauseImage: z.string(),
});

export type Settings = z.infer<typeof settingsSchema>;

export const DEFAULT_ROOT_DIR = '/var/lib/berth';

/** Every file of a cluster that has a fixed place below the settings' folders. */
export function pathsOf(settings: Settings) {
  const { rootDir, runDir, logDir } = settings;
  return {
    settings: settingsFile(rootDir),
    pki: join(rootDir, 'pki'),
    store: join(rootDir, 'store.db'),
    /** Further nodes of this machine, a folder each. */
    nodes: join(rootDir, 'nodes'),
    kubelet: join(rootDir, 'kubelet'),
    /** Sysctls as they were before Berth changed them. */
    networkState: join(rootDir, 'network.json'),
    engineData: join(rootDir, 'docker'),
    engineExec: join(runDir, 'docker'),
    enginePid: join(runDir, 'docker.pid'),
    engineSocket: join(runDir, 'docker.sock'),
    engineLog: join(logDir, 'docker.log'),
    dnsPid: join(runDir, 'dns.pid'),
    dnsLog: join(logDir, 'dns.log'),
    dnsKubeconfig: join(rootDir, 'pki/dns.kubeconfig'),
    pid: join(runDir, 'berth.pid'),
    log: join(logDir, 'berth.log'),
  };
}

/**
 * How long a node's lease is to last: upstream's 40 s of its 50 s of grace, and less in proportion where nodes are given up sooner. A lease
 * is renewed four times while it lasts, so that one lost renewal gives nobody up.
 */
export function nodeLeaseDurationSeconds({ nodeMonitorGracePeriodMs }: Settings): number {
  return Math.min(40, Math.max(1, Math.floor((nodeMonitorGracePeriodMs * 0.8) / 1000)));
}

/** The node's addresses, its own family first. */
export function nodeIpsOf({ nodeIp, nodeIp6 }: Settings): string[] {
  return nodeIp6 === undefined ? [nodeIp] : [nodeIp, nodeIp6];
}

/** The node's part of it. */
export function nodePlaces(settings: Settings): NodePlaces {
  const paths = pathsOf(settings);
  return {
    nodeName: settings.nodeName,
    dockerEndpoint: engineEndpoint(settings),
    cgroupRoot: settings.cgroupRoot,
    kubeletDir: paths.kubelet,
    podLogsDir: settings.podLogsDir,
    containerLogsDir: containerLogsDir(settings.podLogsDir),
    clusterCidr: settings.podCidr,
    serviceCidr: settings.serviceCidr,
    bridge: settings.bridge,
    networkState: paths.networkState,
    cniDataDir: settings.cniDataDir,
    cni: cniFlagsOf(settings),
  };
}

/** The flat folder of log links that log shippers read stands beside the pods' own. */
export function containerLogsDir(podLogsDir: string): string {
  return join(dirname(podLogsDir), 'containers');
}

/** Which network pods get, as flags say it. */
export function cniFlagsOf({ cni, cniConfDir, cniBinDir, cniCacheDir, cniDataDir }: Settings) {
  return { cni, cniConfDir, cniBinDir, cniCacheDir: cniCacheDir ?? dirname(cniDataDir) };
}

/** The Engine's endpoint: the one that was given, or our own. */
export function engineEndpoint(settings: Settings): string {
  return settings.dockerEndpoint ?? `unix://${pathsOf(settings).engineSocket}`;
}

export function settingsFile(rootDir: string): string {
  return join(rootDir, 'settings.json');
}

/** Undefined when no cluster was ever set up there. */
export function readSettings(rootDir: string): Settings | undefined {
  const file = settingsFile(rootDir);
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new UserError(`${file} cannot be read: ${(error as Error).message}`);
  }
  const parsed = settingsSchema.safeParse(parseJson(text, file));
  if (!parsed.success)
    throw new UserError(
      `${file}: ${z.prettifyError(parsed.error)}\nIt was written by another version of Berth or by hand; 'berth up' with the options you want writes it anew.`,
    );
  return Object.freeze(parsed.data);
}

export function writeSettings(settings: Settings): void {
  const file = settingsFile(settings.rootDir);
  mkdirSync(dirname(file), { recursive: true, mode: 0o755 });
  writeFileSync(`${file}.new`, `${JSON.stringify(settings, null, 2)}\n`, { mode: 0o644 });
  chmodSync(`${file}.new`, 0o644);
  renameSync(`${file}.new`, file);
}

function parseJson(text: string, file: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UserError(`${file}: ${(error as Error).message}`);
  }
}

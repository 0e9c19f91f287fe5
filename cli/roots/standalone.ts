import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { kubeletConfiguration } from '../../agent/config/kubelet-configuration.ts';
import { createNodeNetwork } from '../../cni/node/node-network.ts';
import { type ConfigFlag, loadConfig } from '../../src/config/load.ts';
import { connectDocker } from '../../src/docker/connect.ts';
import { createMetrics, type Registry } from '../../src/runtime/metrics.ts';
import type { Runnable } from '../../src/runtime/run-together.ts';
import { cidrsOf } from '../cluster/addresses.ts';
import { imagesFolder } from '../cluster/images-folder.ts';
import type { CniFlags } from '../cni/flags.ts';
import type { ContainerGcFlags } from '../commands/container-gc-flags.ts';
import type { ImageFlags } from '../commands/image-flags.ts';
import { enginePings } from '../engine/ping.ts';
import { recipes } from '../images/catalog.ts';
import { ensureImage } from '../images/load.ts';
import { UserError } from '../output/failure.ts';
import { checkNodeIp } from '../preflight/checks.ts';
import { parseNodeIdentity, parseNodeIps } from '../preflight/node-identity.ts';
import { detectNodeIp, isOutside } from '../preflight/node-ip.ts';
import { checkNodeNameIsFree } from '../preflight/node-name.ts';
import { buildInfo } from '../version.ts';
import { createAgentPart } from './agent-part.ts';
import { parseContainerGcPolicy } from './container-gc-policy.ts';
import type { ProgramContext } from './context.ts';
import { imageSettings } from './image-settings.ts';
import { checkMachine } from './node-checks.ts';
import { clientFrom, type NodeIdentityFiles, nodeNameOf } from './node-client.ts';
import { adoptNodeCertificate } from './node-credentials.ts';
import { settleTrust } from './node-trust.ts';
import { createOverlayPart, NODE_OVERLAY, type OverlayPart } from './overlay-part.ts';
import { type OverlaySource, readOverlaySource, uplinkOfNode } from './overlay-settings.ts';
import { createPodNetworkPart } from './pod-network-part.ts';
import { checkResourceManagers } from './resource-managers.ts';

/** Flags that all node daemons share; the rest is upstream's configuration file. */
export interface NodeDaemonFlags extends ImageFlags, ContainerGcFlags, CniFlags {
  config?: string;
  /** Folder of drop-ins above it. */
  configDir?: string;
  proxyConfig?: string;
  kubeconfig?: string;
  /** Credentials that may only ask for the node's own: used once, while there are none. */
  bootstrapKubeconfig?: string;
  /** Where the node's certificates are kept; `pki` below the root directory unless said. */
  certDir?: string;
  nodeName?: string;
  /** One of each family, commas between. */
  nodeIp?: string;
  /** `key=value`, commas between. */
  nodeLabels?: string;
  cloudProvider?: string;
  rootDir: string;
  dockerEndpoint: string;
  podRuntime: string;
  podInfraContainerImage: string;
  podLogsDir: string;
  clusterCidr: string;
  serviceCidr: string;
  bridge: string;
  /** KubeletConfiguration fields that were given as flags. */
  overrides: ConfigFlag[];
}

/** Asks for the node's credentials where it has none and is given a way to ask (`--bootstrap-kubeconfig`). */
export async function ensureIdentity(
  flags: NodeDaemonFlags,
  context: ProgramContext,
  signal: AbortSignal,
): Promise<NodeIdentityFiles> {
  const { bootstrapKubeconfig, kubeconfig } = flags;
  const paths = { certDir: certDirOf(flags), nodeName: nodeNameOf(flags) };
  if (bootstrapKubeconfig) {
    if (!kubeconfig)
      throw new UserError('--bootstrap-kubeconfig needs --kubeconfig: the file for the credentials that the node gets');
    const { bootstrapNode } = await import('../join/bootstrap.ts');
    await bootstrapNode({ bootstrapKubeconfig, kubeconfig, ...paths }, context, signal);
  }
  const certFile = kubeconfig && (await adoptNodeCertificate({ kubeconfig, ...paths }, context));
  return { kubeconfig, certFile };
}

/** For /flagz: paths and names; what is secret stands in files. */
function shownFlags(flags: NodeDaemonFlags): Record<string, string> {
  const dashed = (name: string) => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  const entries = Object.entries(flags).filter(([, value]) => typeof value === 'string');
  return Object.fromEntries(entries.map(([name, value]) => [dashed(name), String(value)]));
}

const certDirOf = (flags: NodeDaemonFlags) => flags.certDir ?? join(flags.rootDir, 'pki');

/**
 * The agent with the node's network: guards, pods' bridge and addresses. Checks everything that a person may have got wrong
 * before it changes the host.
 */
export async function prepareAgent(
  flags: NodeDaemonFlags,
  identityFiles: NodeIdentityFiles,
  context: ProgramContext,
  signal: AbortSignal,
  overlay?: Pick<OverlayPart, 'mtu'>,
  metrics: Registry = createMetrics(buildInfo()),
): Promise<Record<string, Runnable>> {
  const { log, clock } = context;
  const asked = loadConfig(kubeletConfiguration, {
    file: flags.config,
    dropInDir: flags.configDir,
    flags: flags.overrides,
    onWarning: (message) => log.warn(message),
  });
  const images = imageSettings(asked, flags);
  const createNetwork = createPodNetworkPart(
    {
      ...flags,
      clusterCidrs: cidrsOf(flags.clusterCidr),
      serviceCidrs: cidrsOf(flags.serviceCidr),
      dataDir: join(flags.rootDir, 'cni/networks'),
      ...(overlay && { mtu: overlay.mtu }),
    },
    context,
  );
  const containerGc = parseContainerGcPolicy(flags);
  const nodeName = nodeNameOf(flags);
  const isOfNode = isOutside([...cidrsOf(flags.clusterCidr), ...cidrsOf(flags.serviceCidr)]);
  const nodeIps = flags.nodeIp === undefined ? [await detectNodeIp(isOfNode)] : parseNodeIps(flags.nodeIp);
  for (const nodeIp of nodeIps) checkNodeIp(nodeIp);
  await checkMachine({ config: asked, rootDir: flags.rootDir, failSwapOnUnsaid: true });
  await checkResourceManagers({ config: asked, rootDir: flags.rootDir });
  const identity = parseNodeIdentity(flags);
  const api = flags.kubeconfig ? clientFrom(flags.kubeconfig, 'kubelet', context, metrics, identityFiles) : undefined;
  if (!api && !asked.staticPodPath && !asked.staticPodURL)
    throw new UserError(
      'the agent has nothing to run: give it an API server (--kubeconfig FILE) or static pods (staticPodPath or staticPodURL in --config, --pod-manifest-path, --manifest-url)',
    );
  const socket = flags.dockerEndpoint.replace(/^unix:\/\//, '');
  if (!(await enginePings(socket)))
    throw new UserError(
      `no Docker Engine answers on ${flags.dockerEndpoint}: start it, or name another with --docker-endpoint unix:///path/to.sock`,
    );
  const certDir = certDirOf(flags);
  const trust = await settleTrust({ config: asked, certDir, nodeIps, ...(api && { api }) }, context);

  if (api) await checkNodeNameIsFree({ nodeName, nodeIps }, { client: api.client, clock, signal });
  mkdirSync(flags.rootDir, { recursive: true, mode: 0o750 });
  const network = nodeNetwork(flags, context);
  log.info({ changed: await network.ensure(signal) }, 'host network is ready');
  const pause = recipes.find((recipe) => recipe.name === flags.podInfraContainerImage);
  if (pause) {
    const docker = connectDocker(flags.dockerEndpoint);
    await ensureImage(docker, flags.dockerEndpoint, pause, imagesFolder());
    docker.close();
  }
  const agent = await createAgentPart(
    {
      ...trust,
      nodeName,
      nodeIps,
      ...identity,
      rootDir: flags.rootDir,
      podLogsDir: flags.podLogsDir,
      containerLogsDir: join(flags.podLogsDir, '../containers'),
      pauseImage: flags.podInfraContainerImage,
      images,
      containerGc,
      dockerEndpoint: flags.dockerEndpoint,
      podRuntime: flags.podRuntime,
      flags: shownFlags(flags),
      certDir,
      ...(flags.bootstrapKubeconfig && { bootstrapKubeconfig: flags.bootstrapKubeconfig }),
      ...(api && { client: api.client, ...(api.config.certPem && { clientCertPem: api.config.certPem }) }),
      metrics,
      createNetwork,
    },
    context,
    signal,
  );
  return { agent, 'host network': network };
}

/** The ways to the other nodes' pods; undefined where the node is to have none. */
export async function prepareOverlay(
  flags: OverlaySource & Pick<NodeDaemonFlags, 'kubeconfig' | 'nodeName' | 'nodeIp'> & { overlayKubeconfig?: string },
  identity: NodeIdentityFiles,
  context: ProgramContext,
  metrics: Registry,
): Promise<OverlayPart | undefined> {
  const kubeconfig = flags.overlayKubeconfig ?? flags.kubeconfig;
  if (flags.backend === 'none' || !kubeconfig) return undefined;
  const { client } = clientFrom(kubeconfig, 'berth-overlay', context, undefined, identity);
  const conf = readOverlaySource(flags, (message) => context.log.warn(message));
  const nodeIps = flags.nodeIp === undefined ? [await detectNodeIp()] : parseNodeIps(flags.nodeIp);
  return createOverlayPart(
    { ...NODE_OVERLAY, nodeName: nodeNameOf(flags), client, conf, uplink: uplinkOfNode(conf, nodeIps), metrics },
    context,
  );
}

export function nodeNetwork(
  flags: Pick<NodeDaemonFlags, 'clusterCidr' | 'serviceCidr' | 'bridge' | 'rootDir'>,
  { log, clock }: ProgramContext,
) {
  return createNodeNetwork(
    {
      clusterCidrs: cidrsOf(flags.clusterCidr),
      serviceCidrs: cidrsOf(flags.serviceCidr),
      bridge: flags.bridge,
      stateFile: join(flags.rootDir, 'network.json'),
    },
    { log, clock },
  );
}

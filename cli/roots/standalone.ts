import { mkdirSync, statSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { kubeletConfiguration } from '../../agent/config/kubelet-configuration.ts';
import { createPodNetwork } from '../../cni/invoke/pod-network.ts';
import { type HostState, openHostState } from '../../cni/node/host-state.ts';
import { createNodeNetwork } from '../../cni/node/node-network.ts';
import { type ConfigFlag, loadConfig } from '../../src/config/load.ts';
import { connectDocker } from '../../src/docker/connect.ts';
import { type ClientConfig, createKubeClient, type KubeClient } from '../../src/kube/client.ts';
import { loadKubeconfig } from '../../src/kube/kubeconfig.ts';
import { createMetrics, type Registry } from '../../src/runtime/metrics.ts';
import type { Runnable } from '../../src/runtime/run-together.ts';
import { imagesFolder } from '../cluster/images-folder.ts';
import type { ContainerGcFlags } from '../commands/container-gc-flags.ts';
import type { ImageFlags } from '../commands/image-flags.ts';
import { enginePings } from '../engine/ping.ts';
import { recipes } from '../images/catalog.ts';
import { ensureImage } from '../images/load.ts';
import { UserError } from '../output/failure.ts';
import { checkNodeIp } from '../preflight/checks.ts';
import { parseNodeIdentity, parseNodeIps } from '../preflight/node-identity.ts';
import { detectNodeIp } from '../preflight/node-ip.ts';
import { checkNodeNameIsFree } from '../preflight/node-name.ts';
import { buildInfo } from '../version.ts';
import { createAgentPart } from './agent-part.ts';
import { parseContainerGcPolicy } from './container-gc-policy.ts';
import type { ProgramContext } from './context.ts';
import { imageSettings } from './image-settings.ts';
import { checkMachine } from './node-checks.ts';
import { adoptNodeCertificate, readPairFile } from './node-credentials.ts';
import { settleTrust } from './node-trust.ts';
import { createOverlayPart } from './overlay-part.ts';
import { loadProxyConfig } from './proxy-config.ts';
import { createDebugAccess } from './proxy-debug-access.ts';
import { createProxyPart } from './proxy-part.ts';
import { checkResourceManagers } from './resource-managers.ts';

/** Flags that all node daemons share; the rest is upstream's configuration file. */
export interface NodeDaemonFlags extends ImageFlags, ContainerGcFlags {
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

/** The node's name: the flag, else the host's, in lower case as upstream has it. */
export function nodeNameOf(flags: { nodeName?: string }): string {
  return (flags.nodeName ?? hostname()).trim().toLowerCase();
}

/** The kubeconfig whose own certificate another file takes the place of, since it is renewed there. */
export interface NodeIdentityFiles {
  kubeconfig?: string | undefined;
  certFile?: string | undefined;
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

function clientFrom(
  kubeconfig: string,
  userAgent: string,
  { log }: ProgramContext,
  metrics?: Registry,
  identity: NodeIdentityFiles = {},
): { client: KubeClient; config: ClientConfig; own: Pick<ClientConfig, 'certPem' | 'keyPem'> } {
  const own = loadKubeconfig(kubeconfig, { userAgent });
  const { certFile } = identity.kubeconfig === kubeconfig ? identity : {};
  const config = certFile === undefined ? own : { ...own, ...readPairFile(certFile), certFile, keyFile: certFile };
  if (statSync(kubeconfig).mode & 0o077)
    log.warn({ kubeconfig }, `others than its owner may read these credentials: chmod 600 ${kubeconfig}`);
  return { client: createKubeClient(config, { metrics }), config, own };
}

/**
 * The agent with the node's network: guards, pods' bridge and addresses. Checks everything that a person may have got wrong
 * before it changes the host.
 */
export async function prepareAgent(
  flags: NodeDaemonFlags,
  identityFiles: NodeIdentityFiles,
  context: ProgramContext,
  signal: AbortSignal,
): Promise<Record<string, Runnable>> {
  const { log, clock } = context;
  const asked = loadConfig(kubeletConfiguration, {
    file: flags.config,
    dropInDir: flags.configDir,
    flags: flags.overrides,
    onWarning: (message) => log.warn(message),
  });
  const images = imageSettings(asked, flags);
  const containerGc = parseContainerGcPolicy(flags);
  const nodeName = nodeNameOf(flags);
  const nodeIps = flags.nodeIp === undefined ? [await detectNodeIp()] : parseNodeIps(flags.nodeIp);
  for (const nodeIp of nodeIps) checkNodeIp(nodeIp);
  await checkMachine({ config: asked, rootDir: flags.rootDir, failSwapOnUnsaid: true });
  await checkResourceManagers({ config: asked, rootDir: flags.rootDir });
  const identity = parseNodeIdentity(flags);
  const metrics = createMetrics(buildInfo());
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
      createNetwork: (podCidr) =>
        createPodNetwork(
          {
            bridge: flags.bridge,
            podCidr,
            clusterCidr: flags.clusterCidr,
            dataDir: join(flags.rootDir, 'cni/networks'),
          },
          context,
        ),
    },
    context,
    signal,
  );
  return { agent, 'host network': network };
}

export interface ProxyFlags {
  config?: string;
  kubeconfig?: string;
  nodeName?: string;
  overrides: ConfigFlag[];
  /** Of the node that the proxy may share its kubeconfig with. */
  identity?: NodeIdentityFiles;
}

/** The service proxy. Its kubeconfig comes from the flag, else from clientConnection in its configuration file. */
export function prepareProxy(
  flags: ProxyFlags,
  sysctls: Pick<HostState['sysctls'], 'read' | 'write'>,
  context: ProgramContext,
): Record<string, Runnable> {
  const config = loadProxyConfig(flags, (message) => context.log.warn(message));
  const kubeconfig = flags.kubeconfig ?? (config.clientConnection.kubeconfig || undefined);
  if (!kubeconfig)
    throw new UserError(
      'the proxy needs an API server: give --kubeconfig FILE, or clientConnection.kubeconfig in --config',
    );
  const nodeName = nodeNameOf({ nodeName: flags.nodeName ?? (config.hostnameOverride || undefined) });
  const metrics = createMetrics(buildInfo());
  const { client, config: api } = clientFrom(kubeconfig, 'kube-proxy', context, metrics, flags.identity);
  const debugAccess = createDebugAccess(api, context.clock);
  const shown = flags.overrides.map(({ flag, value }) => [flag.slice(2), String(value)]);
  const part = { nodeName, config, client, metrics, debugAccess, sysctls, flags: Object.fromEntries(shown) };
  return { proxy: createProxyPart(part, context) };
}

/** What a proxy on its own remembers of the host. */
export function proxyHostState(rootDir: string): HostState {
  return openHostState({ stateFile: join(rootDir, 'network.json') });
}

/** Routes to the other nodes' pods. */
export function prepareOverlay(
  flags: { kubeconfig: string; nodeName?: string; backend: string; bridge: string; identity?: NodeIdentityFiles },
  context: ProgramContext,
): Record<string, Runnable> {
  const { client } = clientFrom(flags.kubeconfig, 'berth-overlay', context, undefined, flags.identity);
  return { overlay: createOverlayPart({ ...flags, nodeName: nodeNameOf(flags), client }, context) };
}

export function nodeNetwork(
  flags: Pick<NodeDaemonFlags, 'clusterCidr' | 'serviceCidr' | 'bridge' | 'rootDir'>,
  { log, clock }: ProgramContext,
) {
  return createNodeNetwork(
    {
      clusterCidr: flags.clusterCidr,
      serviceCidr: flags.serviceCidr,
      bridge: flags.bridge,
      stateFile: join(flags.rootDir, 'network.json'),
    },
    { log, clock },
  );
}

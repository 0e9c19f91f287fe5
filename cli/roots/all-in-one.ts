import { mkdirSync } from 'node:fs';
import { chmod } from 'node:fs/promises';
import { kubeletConfiguration } from '../../agent/config/kubelet-configuration.ts';
import { createNodeNetwork, type NodeNetwork } from '../../cni/node/node-network.ts';
import { kubeProxyConfiguration } from '../../proxy/config/kube-proxy-configuration.ts';
import { writeFileAtomically } from '../../src/auth/pem-files.ts';
import { loadConfig } from '../../src/config/load.ts';
import { connectDocker } from '../../src/docker/connect.ts';
import { createKubeClient, type KubeClient } from '../../src/kube/client.ts';
import { renderKubeconfig } from '../../src/kube/kubeconfig.ts';
import { createMetrics, type Registry } from '../../src/runtime/metrics.ts';
import { type Runnable, runTogether } from '../../src/runtime/run-together.ts';
import { cidrsOf, dnsServiceAddress } from '../cluster/addresses.ts';
import { imagesFolder } from '../cluster/images-folder.ts';
import { renderNodeConfig } from '../cluster/node-config.ts';
import { createPrivateEngine } from '../engine/private-engine.ts';
import { recipes } from '../images/catalog.ts';
import { ensureImage } from '../images/load.ts';
import type { ClusterPki } from '../pki/cluster-pki.ts';
import { createPkiRenewal } from '../pki/renewal.ts';
import {
  cniFlagsOf,
  containerLogsDir,
  engineEndpoint,
  nodeIpsOf,
  nodeLeaseDurationSeconds,
  pathsOf,
  type Settings,
} from '../settings.ts';
import { buildInfo } from '../version.ts';
import { createAgentPart } from './agent-part.ts';
import type { AgentPartOptions } from './agent-part-options.ts';
import type { ProgramContext } from './context.ts';
import { createControlPlanePart } from './control-plane-part.ts';
import { createDnsPart } from './dns-part.ts';
import { imageSettings, pluginAudiences } from './image-settings.ts';
import type { OverlayPart } from './overlay-part.ts';
import { createOwnNode } from './own-node.ts';
import { createOwnOverlay, overlayFacts } from './own-overlay.ts';
import { ensureOwnPki, ownTrust } from './own-pki.ts';
import { createPodNetworkPart } from './pod-network-part.ts';
import { createDebugAccess } from './proxy-debug-access.ts';
import { createProxyPart, type ProxyPartOptions } from './proxy-part.ts';

/**
 * Everything of a single-node cluster in one process.
 *
 *     host network ──▶ (guards first: nothing may leave the host by mistake)
 *     Engine ─────────▶ pause image ─┐
 *     control plane ─────────────────┴─▶ agent, proxy ──▶ until the signal
 */
export async function runAllInOne(
  settings: Settings,
  context: ProgramContext,
  signal: AbortSignal,
  onStarted: () => void,
): Promise<void> {
  const { log, clock } = context;
  const paths = pathsOf(settings);
  for (const folder of [settings.rootDir, settings.manifestDir, settings.podLogsDir])
    mkdirSync(folder, { recursive: true });
  const network = createNodeNetwork(
    {
      clusterCidrs: cidrsOf(settings.podCidr),
      serviceCidrs: cidrsOf(settings.serviceCidr),
      bridge: settings.bridge,
      stateFile: paths.networkState,
    },
    { log, clock },
  );
  log.info({ changed: await network.ensure(signal) }, 'host network is ready');
  const engine = settings.dockerEndpoint === undefined ? createPrivateEngine({ paths, clock, log }) : undefined;
  const pki = await ensureOwnPki(settings, clock.nowMs());
  const metrics = { node: createMetrics(buildInfo()), proxy: createMetrics(buildInfo()) };
  const clients = {
    node: clientAs(settings, pki, 'node', 'kubelet', metrics.node),
    proxy: clientAs(settings, pki, 'proxy', 'kube-proxy', metrics.proxy),
    overlay: clientAs(settings, pki, 'overlay', 'berth-overlay'),
  };
  const overlay = await createOwnOverlay(settings, clients.overlay, metrics.node, context);
  const own = createOwnNode(`https://${settings.nodeIp}:${settings.agentPort}`, pki.kubeletClient.certPem);
  const controlPlane = await createControlPlanePart(
    {
      ownNode: own.ownNode,
      storePath: paths.store,
      bindAddress: '0.0.0.0',
      port: settings.apiPort,
      advertiseAddress: settings.nodeIp,
      podCidrs: cidrsOf(settings.podCidr),
      serviceCidrs: cidrsOf(settings.serviceCidr),
      dns: {
        serviceAddress: dnsServiceAddress(settings.serviceCidr),
        endpoint: { address: settings.nodeIp, port: settings.dnsPort },
      },
      clusterDomain: settings.clusterDomain,
      nodeLifecycle: {
        monitorPeriodMs: settings.nodeMonitorPeriodMs,
        gracePeriodMs: settings.nodeMonitorGracePeriodMs,
      },
      tolerationSeconds: {
        notReady: settings.defaultNotReadyTolerationSeconds,
        unreachable: settings.defaultUnreachableTolerationSeconds,
      },
      nodeTokenAudiences: pluginAudiences(settings),
      nodeConfig: {
        kubelet: renderNodeConfig(settings),
        facts: {
          'cluster-cidr': settings.podCidr,
          'service-cidr': settings.serviceCidr,
          ...overlayFacts(settings),
        },
      },
      pki,
    },
    context,
  );
  const [, agent] = await Promise.all([
    controlPlane.start().then(() => writeAdminKubeconfig(settings, pki)),
    prepareEngine(settings, engine, signal).then(() =>
      createAgent(settings, pki, { client: clients.node, metrics: metrics.node, overlay }, context, signal),
    ),
  ]);
  own.servedBy(agent);
  const api = { server: `https://127.0.0.1:${settings.apiPort}`, caPem: pki.ca.certPem };
  const debugAccess = createDebugAccess(api, context.clock);
  const proxyPart = { client: clients.proxy, metrics: metrics.proxy, debugAccess };
  const proxy = createProxy(settings, proxyPart, network.sysctls, context);
  onStarted();
  try {
    await runTogether(
      {
        'control plane': controlPlane,
        agent,
        proxy,
        ...(overlay && { overlay }),
        'DNS process': createDnsPart(settings, pki, context),
        'host network': network,
        certificates: createPkiRenewal(
          {
            current: pki,
            ensure: () => ensureOwnPki(settings, clock.nowMs()),
            async use(now) {
              controlPlane.useCertificates(now);
              await writeAdminKubeconfig(settings, now);
            },
          },
          context,
        ),
        ...(engine && { 'docker engine': engine }),
      },
      signal,
    );
  } finally {
    // An event that still waits for the server, which is gone by now, must not keep the process for a minute of retries.
    await Promise.all(Object.values(clients).map((client) => client.close()));
  }
}

async function prepareEngine(
  settings: Settings,
  engine: ReturnType<typeof createPrivateEngine> | undefined,
  signal: AbortSignal,
): Promise<void> {
  await engine?.ensure(signal);
  const pause = recipes.find((recipe) => recipe.name === settings.pauseImage);
  if (!pause) return;
  const docker = connectDocker(engineEndpoint(settings));
  await ensureImage(docker, engineEndpoint(settings), pause, imagesFolder());
  docker.close();
}

function createAgent(
  settings: Settings,
  pki: ClusterPki,
  {
    overlay,
    ...part
  }: Pick<AgentPartOptions, 'client' | 'metrics'> & { overlay: Pick<OverlayPart, 'mtu'> | undefined },
  context: ProgramContext,
  signal: AbortSignal,
): ReturnType<typeof createAgentPart> {
  const paths = pathsOf(settings);
  const config = loadConfig(kubeletConfiguration, {
    file: settings.kubeletConfig,
    dropInDir: settings.kubeletConfigDir,
    onWarning: (message) => context.log.warn(message),
    flags: [
      { flag: '--agent-port', field: 'port', value: settings.agentPort },
      { flag: '--agent-health-port', field: 'healthzPort', value: settings.agentHealthPort },
      { flag: '--cgroup-root', field: 'cgroupRoot', value: settings.cgroupRoot },
      { flag: '--cluster-domain', field: 'clusterDomain', value: settings.clusterDomain },
      { flag: '--service-cidr', field: 'clusterDNS', value: dnsServiceAddress(settings.serviceCidr) },
      {
        flag: '--node-monitor-grace-period',
        field: 'nodeLeaseDurationSeconds',
        value: nodeLeaseDurationSeconds(settings),
      },
      { flag: '--static-pod-path', field: 'staticPodPath', value: settings.manifestDir },
    ],
  });
  return createAgentPart(
    {
      ...ownTrust(config, pki),
      nodeName: settings.nodeName,
      nodeIps: nodeIpsOf(settings),
      rootDir: paths.kubelet,
      podLogsDir: settings.podLogsDir,
      containerLogsDir: containerLogsDir(settings.podLogsDir),
      pauseImage: settings.pauseImage,
      images: imageSettings(config, settings),
      dockerEndpoint: engineEndpoint(settings),
      sharesEngine: settings.dockerEndpoint !== undefined,
      podRuntime: settings.podRuntime,
      // For machines of people, which have swap: their pods use none of it all the same.
      failSwapOnUnsaid: false,
      ...part,
      createNetwork: createPodNetworkPart(
        {
          ...cniFlagsOf(settings),
          bridge: settings.bridge,
          clusterCidrs: cidrsOf(settings.podCidr),
          serviceCidrs: cidrsOf(settings.serviceCidr),
          dataDir: settings.cniDataDir,
          ...(overlay && { mtu: overlay.mtu }),
        },
        context,
      ),
    },
    context,
    signal,
  );
}

function createProxy(
  settings: Settings,
  part: Pick<ProxyPartOptions, 'client' | 'metrics' | 'debugAccess'>,
  sysctls: NodeNetwork['sysctls'],
  context: ProgramContext,
): Runnable {
  const config = loadConfig(kubeProxyConfiguration, {
    flags: [
      { flag: '--pod-cidr', field: 'clusterCIDR', value: settings.podCidr },
      { flag: '--proxy-health-port', field: 'healthzBindAddress', value: `0.0.0.0:${settings.proxyHealthPort}` },
      // Upstream's second between syncs spares clusters with thousands of services; here a new Service counts: its
      // address and then its endpoints are two syncs.
      { flag: '--iptables-min-sync-period', field: 'iptables.minSyncPeriod', value: '50ms' },
      { flag: '--nftables-min-sync-period', field: 'nftables.minSyncPeriod', value: '50ms' },
      { flag: '--proxy-mode', field: 'mode', value: settings.proxyMode },
      { flag: '--proxy-metrics-port', field: 'metricsBindAddress', value: `127.0.0.1:${settings.proxyMetricsPort}` },
    ],
  });
  return createProxyPart({ nodeName: settings.nodeName, config, ...part, sysctls }, context);
}

function clientAs(
  settings: Settings,
  pki: ClusterPki,
  identity: 'node' | 'proxy' | 'overlay',
  userAgent: string,
  metrics?: Registry,
): KubeClient {
  return createKubeClient(
    {
      server: `https://127.0.0.1:${settings.apiPort}`,
      caPem: pki.ca.certPem,
      ...pki[identity],
      userAgent,
    },
    { metrics },
  );
}

/** 0600: whoever reads it is the cluster's administrator. */
async function writeAdminKubeconfig(settings: Settings, pki: ClusterPki): Promise<void> {
  const content = renderKubeconfig({
    server: `https://127.0.0.1:${settings.apiPort}`,
    caPem: pki.ca.certPem,
    certPem: pki.admin.certPem,
    keyPem: pki.admin.keyPem,
  });
  await writeFileAtomically(settings.kubeconfig, content, 0o600);
  await chmod(settings.kubeconfig, 0o600);
}

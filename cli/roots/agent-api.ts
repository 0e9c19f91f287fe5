import { uptime } from 'node:os';
import type { KubeletConfiguration } from '../../agent/config/kubelet-configuration.ts';
import { nodeStatusReportFrequencyMs } from '../../agent/config/sections/api.ts';
import { createServiceEnvironment } from '../../agent/containers/service-environment.ts';
import type { NodeHealth } from '../../agent/node/conditions.ts';
import type { HostFacts } from '../../agent/node/host-facts.ts';
import { computeNodeImages } from '../../agent/node/images.ts';
import { createNodeKeeper, type NodeCapacity } from '../../agent/node/node-keeper.ts';
import { createRuntimeMonitor } from '../../agent/node/runtime-monitor.ts';
import { createNodeStartup } from '../../agent/node/startup-metrics.ts';
import { startWarnings } from '../../agent/node/warnings.ts';
import type { PodNetwork } from '../../agent/pods/ports.ts';
import { hasSysResource } from '../../agent/resources/capabilities.ts';
import { createMirrorPodKeeper } from '../../agent/sources/mirror.ts';
import { createReferencedObjects } from '../../agent/volumes/referenced-objects.ts';
import { createServiceAccountTokens } from '../../agent/volumes/tokens.ts';
import type { DockerEngine, EngineInfo } from '../../src/docker/engine.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import { createEventRecorder } from '../../src/kube/events.ts';
import { createInformerSet } from '../../src/kube/informer.ts';
import { createLeaseKeeper } from '../../src/kube/lease.ts';
import { nodes, pods, serviceAccounts, services } from '../../src/kube/resources.ts';
import { supportsRecursiveReadOnly } from '../../src/linux/mounts.ts';
import type { Heartbeats } from '../../src/runtime/heartbeat.ts';
import type { Registry } from '../../src/runtime/metrics.ts';
import type { Runnable } from '../../src/runtime/run-together.ts';
import { KUBERNETES_VERSION } from '../version.ts';
import type { ProgramContext } from './context.ts';

/** What the agent has of an API server: its pods, the objects they name, events; a node without one has none of it. */
export function connectAgentToApi(
  options: {
    client: KubeClient;
    nodeName: string;
    changeDetection: KubeletConfiguration['configMapAndSecretChangeDetectionStrategy'];
    /** `eventRecordQPS` and `eventBurst`. */
    eventLimit: { perSecond: number; burst: number };
  },
  { log, clock }: ProgramContext,
) {
  const { client, nodeName } = options;
  const informers = createInformerSet(client, { log, clock });
  const podInformer = informers.informer(pods, { fieldSelector: `spec.nodeName=${nodeName}` });
  const nodeInformer = informers.informer(nodes, { fieldSelector: `metadata.name=${nodeName}` });
  const serviceInformer = informers.informer(services);
  return {
    client,
    informers,
    nodeInformer,
    podInformer,
    podCidrs(): readonly string[] {
      const { podCIDR, podCIDRs = podCIDR ? [podCIDR] : [] } = nodeInformer.get(nodeName)?.spec ?? {};
      return podCIDRs;
    },
    events: createEventRecorder({
      client,
      component: 'kubelet',
      host: nodeName,
      limit: options.eventLimit,
      log,
      clock,
    }),
    mirrors: createMirrorPodKeeper({ client, informer: podInformer, nodeName, clock, log }),
    config: createReferencedObjects({ strategy: options.changeDetection }, { client, clock, log }),
    tokens: createServiceAccountTokens({ client, clock, log }),
    serviceAccount: (namespace: string, name: string) => client.get(serviceAccounts, { namespace, name }),
    services: createServiceEnvironment(() => serviceInformer.list()),
    /** Service environment variables are fixed when a container starts: the services must be known before the first one. */
    async servicesKnown(signal: AbortSignal): Promise<void> {
      await serviceInformer.synced(signal).catch(() => {});
    },
  };
}

export type AgentApi = ReturnType<typeof connectAgentToApi>;

export interface NodeObjectOptions {
  api: AgentApi;
  config: KubeletConfiguration;
  nodeName: string;
  nodeIps: string[];
  nodeLabels?: Record<string, string>;
  hasExternalCloud?: boolean;
  /** Where the node's start is measured. */
  metrics?: Registry;
  facts: HostFacts;
  /** What the node has now; `keeper.refresh()` after it changed. */
  resources: () => NodeCapacity;
  engine: EngineInfo;
  docker: DockerEngine;
  network: PodNetwork;
  heartbeats: Heartbeats;
  lastRelistMonotonicMs: () => number | undefined;
  volumesInUse: () => string[];
  forgotDevices?: () => boolean;
  /** Reason against Ready while the node shuts down. */
  shutdownProblem: () => string | undefined;
  /** What the node is short of. */
  pressure: () => Pick<NodeHealth, 'memoryPressure' | 'diskPressure' | 'pidPressure'>;
}

/** The Node object and its lease: registered, and kept up to date while the agent lives. */
export function keepNodeObject(options: NodeObjectOptions, { log, clock }: ProgramContext) {
  const { api, config, nodeName, facts, docker } = options;
  const monitor = createRuntimeMonitor({ docker, clock, log, onChange: () => keeper.refresh() });
  const keeper = createNodeKeeper(
    {
      identity: {
        name: nodeName,
        ips: options.nodeIps,
        hostname: nodeName,
        architecture: facts.identity.architecture,
        labels: options.nodeLabels ?? {},
        hasExternalCloud: options.hasExternalCloud ?? false,
        registerWithTaints: config.registerWithTaints,
        ...(config.providerID && { providerId: config.providerID }),
      },
      facts: {
        serverPort: config.port,
        nodeInfo: { ...facts.identity, kubeletVersion: KUBERNETES_VERSION },
        handlerFeatures: { recursiveReadOnlyMounts: supportsRecursiveReadOnly(), userNamespaces: false },
      },
      updateIntervalMs: config.nodeStatusUpdateFrequencyMs,
      reportIntervalMs: nodeStatusReportFrequencyMs(config),
      registerNode: config.registerNode,
      warnings: startWarnings({
        cgroupVersion: options.engine.cgroupVersion === '1' ? 1 : 2,
        canLowerOomScore: hasSysResource(),
      }),
    },
    {
      client: api.client,
      events: api.events,
      clock,
      log,
      runtime: monitor,
      network: options.network.status,
      resources: options.resources,
      lastRelistMonotonicMs: options.lastRelistMonotonicMs,
      volumesInUse: options.volumesInUse,
      ...(options.forgotDevices && { forgotDevices: options.forgotDevices }),
      shutdownProblem: options.shutdownProblem,
      pressure: options.pressure,
      ...(options.metrics && {
        startup: createNodeStartup(uptime() - process.uptime(), options.metrics, clock),
      }),
      images: async () => computeNodeImages(await docker.listImages(), config.nodeStatusMaxImages),
      beat: options.heartbeats.register('node status', 6 * config.nodeStatusUpdateFrequencyMs),
    },
  );
  api.nodeInformer.subscribe({
    added: () => keeper.refresh(),
    updated: (before, now) => before.spec.podCIDR !== now.spec.podCIDR && keeper.refresh(),
  });
  const lease = createLeaseKeeper(
    {
      namespace: 'kube-node-lease',
      name: nodeName,
      holderIdentity: nodeName,
      durationSeconds: config.nodeLeaseDurationSeconds,
    },
    { client: api.client, clock, log, owner: keeper.owner },
  );
  const parts: Record<string, Runnable> = { 'runtime monitor': monitor, 'node status': keeper, 'node lease': lease };
  return { keeper, parts };
}

import { mkdirSync } from 'node:fs';
import { hostname } from 'node:os';
import { AGENT_DEFAULTS, createAgent } from '../../agent/agent.ts';
import {
  type KubeletConfiguration,
  nodeStatusReportFrequencyMs,
  parallelImagePulls,
} from '../../agent/config/kubelet-configuration.ts';
import { createContainerExec } from '../../agent/containers/exec.ts';
import { createServiceEnvironment } from '../../agent/containers/service-environment.ts';
import { readHostFacts } from '../../agent/node/host-facts.ts';
import { computeNodeImages } from '../../agent/node/images.ts';
import { createNodeKeeper } from '../../agent/node/node-keeper.ts';
import { createRuntimeMonitor } from '../../agent/node/runtime-monitor.ts';
import { startWarnings } from '../../agent/node/warnings.ts';
import type { PodDirectory, PodNetwork } from '../../agent/pods/ports.ts';
import { createProbeManager } from '../../agent/probes/manager.ts';
import { createProber } from '../../agent/probes/prober.ts';
import { admitPod } from '../../agent/resources/admission.ts';
import { hasSysResource } from '../../agent/resources/capabilities.ts';
import { createAgentServer } from '../../agent/server/server.ts';
import { createMirrorPodKeeper } from '../../agent/sources/mirror.ts';
import { createNodeMetrics } from '../../agent/stats/metrics.ts';
import { computePodStatus } from '../../agent/status/compute.ts';
import { createStatusManager } from '../../agent/status/manager.ts';
import { createConfigSources } from '../../agent/volumes/config-sources.ts';
import { createServiceAccountTokens } from '../../agent/volumes/tokens.ts';
import type { CertificatePair } from '../../src/auth/authority.ts';
import { connectDocker } from '../../src/docker/connect.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import { createEventRecorder } from '../../src/kube/events.ts';
import { createInformerSet } from '../../src/kube/informer.ts';
import { createLeaseKeeper } from '../../src/kube/lease.ts';
import { nodes, pods, services } from '../../src/kube/resources.ts';
import { retry } from '../../src/runtime/backoff.ts';
import { createHeartbeats } from '../../src/runtime/heartbeat.ts';
import { createMetrics, Registry } from '../../src/runtime/metrics.ts';
import { type Runnable, runTogether } from '../../src/runtime/run-together.ts';
import { KUBERNETES_VERSION } from '../version.ts';
import type { ProgramContext } from './context.ts';
import { computeNodeShares, openPodResources } from './node-resources.ts';

export interface AgentPartOptions {
  config: KubeletConfiguration;
  nodeName: string;
  nodeIps: string[];
  /** State of pods: `pods/<uid>/…` below it. */
  rootDir: string;
  podLogsDir: string;
  containerLogsDir: string;
  pauseImage: string;
  dockerEndpoint: string;
  /** Of the HTTPS port; signed by whoever the API server trusts for nodes. */
  serving: CertificatePair;
  /** Who signs the certificates of that port's clients. */
  clientCaPem: string;
  /** The node's identity at the API server. */
  client: KubeClient;
  /** Makes the pod network; `podCidr` tells the node's own as soon as it has one. */
  createNetwork(podCidr: () => string | undefined): PodNetwork & { close(): void };
}

const ENGINE_RETRY = { initialMs: 100, maxMs: 5000 };

/** The node agent: pods, their status, the Node object and its lease. Ending it leaves the pods as they are. */
export async function createAgentPart(
  options: AgentPartOptions,
  { log, clock }: ProgramContext,
  signal: AbortSignal,
): Promise<Runnable> {
  const { config, nodeName, client } = options;
  mkdirSync(options.rootDir, { recursive: true, mode: 0o750 });
  const docker = connectDocker(options.dockerEndpoint);
  const engine = await retry(() => docker.info(signal), {
    ...ENGINE_RETRY,
    clock,
    signal,
    onFailure: (error) => log.warn({ err: error }, 'waiting for the Docker Engine'),
  });
  const facts = await readHostFacts(options.rootDir);
  const shares = computeNodeShares(config, facts);
  const resources = await openPodResources(config, shares, engine);
  await resources.ensureNode();

  const informers = createInformerSet(client, { log, clock });
  const podInformer = informers.informer(pods, { fieldSelector: `spec.nodeName=${nodeName}` });
  const nodeInformer = informers.informer(nodes, { fieldSelector: `metadata.name=${nodeName}` });
  const serviceInformer = informers.informer(services);
  const podCidr = () => nodeInformer.get(nodeName)?.spec.podCIDR ?? (config.podCIDR || undefined);
  const network = options.createNetwork(podCidr);

  const events = createEventRecorder({ client, component: 'kubelet', host: nodeName, log, clock });
  const heartbeats = createHeartbeats(clock);
  const registry = createMetrics();
  const probeRegistry = new Registry();
  const directory: Pick<PodDirectory, 'list' | 'runtime'> = {
    list: () => agent.directory.list(),
    runtime: (uid) => agent.directory.runtime(uid),
  };
  const metrics = createNodeMetrics({ nodeName }, { registry, probeRegistry, pods: directory });
  const mirrors = createMirrorPodKeeper({ client, informer: podInformer, nodeName, clock, log });
  const prober = createProber({
    exec: createContainerExec(docker),
    userAgent: `kube-probe/${KUBERNETES_VERSION.slice(1).split('.').slice(0, 2).join('.')}`,
  });
  const probes = createProbeManager({
    prober,
    events,
    clock,
    hostIp: () => options.nodeIps[0],
    onProbe: metrics.probed,
  });
  const status = createStatusManager({ client, mirrors, clock, log, onPublished: metrics.statusPublished });
  const runtimeMonitor = createRuntimeMonitor({ docker, clock, log, onChange: () => keeper.refresh() });
  const agent = createAgent(
    {
      ...AGENT_DEFAULTS,
      nodeName,
      nodeHostname: hostname(),
      nodeIps: options.nodeIps,
      rootDir: options.rootDir,
      podLogsDir: options.podLogsDir,
      containerLogsDir: options.containerLogsDir,
      pauseImage: options.pauseImage,
      clusterDns: [...config.clusterDNS],
      clusterDomain: config.clusterDomain,
      resolvConfPath: config.resolvConf,
      ...(config.staticPodPath && { staticPodPath: config.staticPodPath }),
      fileCheckMs: config.fileCheckFrequencyMs,
      resyncMs: config.syncFrequencyMs,
      maxParallelImagePulls: parallelImagePulls(config),
      containerLogMaxSizeBytes: config.containerLogMaxSizeBytes,
      containerLogMaxFiles: config.containerLogMaxFiles,
      seccompDefault: config.seccompDefault,
      allowedUnsafeSysctls: [...config.allowedUnsafeSysctls],
      crashLoopMaxMs: config.crashLoopBackOff.maxContainerRestartPeriodMs,
    },
    {
      docker,
      network,
      resources,
      probes,
      status,
      computeStatus: (input) => computePodStatus(input, probes, { hostIps: options.nodeIps }),
      admit: (pod, others) => {
        const node = keeper.node();
        const rejection = admitPod(pod, others, {
          name: nodeName,
          labels: node?.metadata.labels ?? {},
          taints: node?.spec.taints ?? [],
          allocatable: shares.allocatable,
          allowedUnsafeSysctls: config.allowedUnsafeSysctls,
        });
        if (rejection) metrics.rejected(rejection.reason);
        return rejection;
      },
      events,
      metrics,
      heartbeats,
      podInformer,
      mirrors,
      config: createConfigSources(client),
      tokens: createServiceAccountTokens(client, clock),
      services: createServiceEnvironment(() => serviceInformer.list()),
      clock,
      log,
    },
  );
  const keeper = createNodeKeeper(
    {
      identity: {
        name: nodeName,
        ips: options.nodeIps,
        hostname: nodeName,
        architecture: facts.identity.architecture,
        labels: {},
        registerWithTaints: config.registerWithTaints,
        ...(config.providerID && { providerId: config.providerID }),
      },
      facts: {
        capacity: shares.capacity,
        allocatable: shares.allocatable,
        serverPort: config.port,
        nodeInfo: { ...facts.identity, kubeletVersion: KUBERNETES_VERSION },
      },
      updateIntervalMs: config.nodeStatusUpdateFrequencyMs,
      reportIntervalMs: nodeStatusReportFrequencyMs(config),
      registerNode: config.registerNode,
      warnings: startWarnings({
        cgroupVersion: engine.cgroupVersion === '1' ? 1 : 2,
        canLowerOomScore: hasSysResource(),
      }),
    },
    {
      client,
      events,
      clock,
      log,
      runtime: runtimeMonitor,
      network: network.status,
      lastRelistMonotonicMs: agent.directory.lastRelistMonotonicMs,
      images: async () => computeNodeImages(await docker.listImages(), config.nodeStatusMaxImages),
      beat: heartbeats.register('node status', 6 * config.nodeStatusUpdateFrequencyMs),
    },
  );
  nodeInformer.subscribe({
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
    { client, clock, log, owner: keeper.owner },
  );
  const server = createAgentServer(
    {
      address: config.address,
      port: config.port,
      ...options.serving,
      clientCaPem: options.clientCaPem,
      healthzBindAddress: config.healthzBindAddress,
      ...(config.healthzPort > 0 && { healthzPort: config.healthzPort }),
    },
    {
      pods: agent.directory,
      docker,
      heartbeats,
      registry,
      probeRegistry,
      metrics,
      configuration: () => config,
      clock,
      log,
    },
  );
  await server.listen();
  // Service environment variables are fixed when a container starts: the services must be known before the first one.
  const podsAfterServices: Runnable = {
    async run(all) {
      await serviceInformer.synced(all).catch(() => {});
      if (!all.aborted) await agent.run(all);
    },
  };
  return {
    async run(all) {
      try {
        await runTogether(
          {
            'agent server': server,
            'agent informers': informers,
            'runtime monitor': runtimeMonitor,
            'node status': keeper,
            'node lease': lease,
            agent: podsAfterServices,
          },
          all,
        );
      } finally {
        network.close();
        docker.close();
      }
    },
  };
}

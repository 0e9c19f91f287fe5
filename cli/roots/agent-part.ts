import { mkdirSync } from 'node:fs';
import { createAgent } from '../../agent/agent.ts';
import { renderConfigz } from '../../agent/config/configz.ts';
import type { KubeletConfiguration } from '../../agent/config/kubelet-configuration.ts';
import { createContainerExec } from '../../agent/containers/exec.ts';
import type { ContainerGcPolicy } from '../../agent/gc/container-plan.ts';
import type { ImageSettings } from '../../agent/images/image-parts.ts';
import { readHostFacts } from '../../agent/node/host-facts.ts';
import type { PodDirectory, PodNetwork } from '../../agent/pods/ports.ts';
import { createProbeManager } from '../../agent/probes/manager.ts';
import { createProber } from '../../agent/probes/prober.ts';
import { createPodRuntime } from '../../agent/sandbox/pod-runtime.ts';
import { createPodConnector } from '../../agent/server/pod-connection.ts';
import { createAgentServer } from '../../agent/server/server.ts';
import { countAccess } from '../../agent/stats/access.ts';
import { registerConfigurationMetrics } from '../../agent/stats/configuration.ts';
import { createManifestProblems } from '../../agent/stats/manifests.ts';
import { createNodeMetrics } from '../../agent/stats/metrics.ts';
import { registerPodCounts } from '../../agent/stats/pod-counts.ts';
import { computePodStatus } from '../../agent/status/compute.ts';
import { createStatusManager } from '../../agent/status/manager.ts';
import { createStandalonePlugins } from '../../agent/volumes/persistent/claim-plugins.ts';
import { createStorage } from '../../agent/volumes/persistent/storage.ts';
import type { CertificatePair } from '../../src/auth/authority.ts';
import { connectDocker } from '../../src/docker/connect.ts';
import { createContainerLogs } from '../../src/docker/log-files/container-logs.ts';
import { connectTerminals } from '../../src/docker/terminals.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import type { Node } from '../../src/kube/types.ts';
import { supportsRecursiveReadOnly } from '../../src/linux/mounts.ts';
import { retry } from '../../src/runtime/backoff.ts';
import { createHeartbeats } from '../../src/runtime/heartbeat.ts';
import { Registry } from '../../src/runtime/metrics.ts';
import { type Runnable, runTogether } from '../../src/runtime/run-together.ts';
import { choosePodRuntime } from '../engine/pod-runtime.ts';
import { KUBERNETES_VERSION } from '../version.ts';
import { createAdmissionPart } from './admission.ts';
import { connectAgentToApi, keepNodeObject } from './agent-api.ts';
import { agentOptions } from './agent-options.ts';
import { openAllocations } from './allocations.ts';
import { createCertificatesPart } from './certificates-part.ts';
import type { ProgramContext } from './context.ts';
import { openDevices } from './devices.ts';
import { createEvictionPart } from './eviction.ts';
import { logEvents } from './log-events.ts';
import { createNodeAccess } from './node-access.ts';
import { startNodeAllocatable } from './node-allocatable.ts';
import { nodeEvents } from './node-events.ts';
import { computeNodeShares, openPodResources } from './node-resources.ts';
import { createNodeShutdownPart } from './node-shutdown.ts';
import { settleOwnProcess } from './own-process.ts';
import { createPodResourcesApiPart } from './pod-resources-api.ts';
import { describeResizingNode } from './resizing-node.ts';
import { openResourceManagers } from './resource-managers.ts';
import { openStatistics } from './statistics.ts';

export interface AgentPartOptions {
  config: KubeletConfiguration;
  nodeName: string;
  nodeIps: string[];
  /** Beside those that every node has. */
  nodeLabels?: Record<string, string>;
  /** A cloud's controller completes the node before pods come. */
  hasExternalCloud?: boolean;
  /** State of pods: `pods/<uid>/…` below it. */
  rootDir: string;
  podLogsDir: string;
  containerLogsDir: string;
  pauseImage: string;
  images: ImageSettings;
  dockerEndpoint: string;
  /** Others use the Engine too: what they brought there is not ours to remove. */
  sharesEngine?: boolean;
  /** Absent: upstream's defaults. */
  containerGc?: ContainerGcPolicy;
  /** `auto`, `none`, or a runtime that the Engine knows. */
  podRuntime: string;
  /** What failSwapOn is where the configuration says nothing; true, as upstream, unless given. */
  failSwapOnUnsaid?: boolean;
  /** Of the HTTPS port; signed by whoever the API server trusts for nodes. */
  serving: CertificatePair;
  /** Who signs the certificates of that port's clients. */
  clientCaPem: string;
  /** The node's identity at the API server; absent: static pods only, without a Node object. */
  client?: KubeClient;
  /** That identity's certificate, if it is one: its end is watched. */
  clientCertPem?: string;
  /** Where certificates that are renewed are kept; absent: they stay what they are. */
  certDir?: string;
  /** The client's pair, where it is renewed. */
  rotatingClient?: CertificatePair;
  /** The serving pair, where one was issued before. */
  rotatingServing?: CertificatePair;
  /** How the program was called, for /flagz. */
  flags?: Readonly<Record<string, string>>;
  /** What the agent's /metrics shows. */
  metrics: Registry;
  /** Makes the pod network; `podCidr` tells the node's own as soon as it has one. */
  createNetwork(podCidr: () => string | undefined): PodNetwork & { close(): void };
}

/** What /logs shows. */
const SYSTEM_LOGS = '/var/log';
const ENGINE_RETRY = { initialMs: 100, maxMs: 5000 };
const PROBE_USER_AGENT = `kube-probe/${KUBERNETES_VERSION.slice(1).split('.').slice(0, 2).join('.')}`;

/** The node agent: pods, their status, the Node object and its lease. Ending it leaves the pods as they are. */
export async function createAgentPart(
  options: AgentPartOptions,
  context: ProgramContext,
  signal: AbortSignal,
): Promise<Runnable> {
  const { config, nodeName, nodeIps, client } = options;
  const { log, clock } = context;
  mkdirSync(options.rootDir, { recursive: true, mode: 0o750 });
  // Before anything is touched: a checkpoint that cannot be used ends the start.
  const allocations = await openAllocations(options.rootDir, context);
  const managers = await openResourceManagers(options, context);
  const devices = await openDevices(
    { ...options, numaNodes: managers.numaNodes },
    { registry: options.metrics },
    context,
  );
  const connection = connectDocker(options.dockerEndpoint, { requestTimeoutMs: config.runtimeRequestTimeoutMs });
  const engine = await retry(() => connection.info(signal), {
    ...ENGINE_RETRY,
    clock,
    signal,
    onFailure: (error) => log.warn({ err: error }, 'waiting for the Docker Engine'),
  });
  const podRuntimeName = choosePodRuntime(options.podRuntime, engine);
  const podRuntime = podRuntimeName ? createPodRuntime(podRuntimeName, { docker: connection, log }) : undefined;
  log.info({ podRuntime: podRuntimeName ?? engine.defaultRuntime }, "OCI runtime of pods' containers");
  const docker = managers.follow(podRuntime?.docker ?? connection);
  const facts = await readHostFacts(options.rootDir);
  const shares = computeNodeShares(config, facts);
  const resources = await openPodResources(config, shares, engine, managers.hasExclusiveCpus);

  const api =
    client &&
    connectAgentToApi(
      {
        client,
        nodeName,
        changeDetection: config.configMapAndSecretChangeDetectionStrategy,
        eventLimit: { perSecond: config.eventRecordQPS, burst: config.eventBurst },
      },
      context,
    );
  const nodeAllocatable = await startNodeAllocatable(
    { config, nodeName, shares, engine, failSwapOnUnsaid: options.failSwapOnUnsaid ?? true },
    { resources, registry: options.metrics, ...(api && { events: api.events }) },
    context,
  );
  const processCgroups = await settleOwnProcess(config, context);
  const storage =
    api &&
    createStorage(
      { nodeName, rootDir: options.rootDir },
      {
        ...api,
        nodeLabels: () => nodeOf()?.metadata.labels,
        pluginHandlers: [devices.pluginHandler],
        registry: options.metrics,
        clock,
        log,
      },
    );
  const network = options.createNetwork(() => api?.podCidr() ?? (config.podCIDR || undefined));
  const events = api?.events ?? logEvents(log);
  const heartbeats = createHeartbeats(clock);
  const registry = options.metrics;
  const probeRegistry = new Registry();
  const directory: Pick<PodDirectory, 'list' | 'runtime'> = {
    list: () => agent.directory.list(),
    runtime: (uid) => agent.directory.runtime(uid),
  };
  const { statistics, endpoints } = await openStatistics(
    { ...options, engine, facts },
    { pods: directory, docker, ...(storage && { claims: storage.claimFigures }) },
    context,
  );
  const metrics = createNodeMetrics({ nodeName }, { registry, probeRegistry, pods: directory, clock });
  const prober = createProber({ exec: createContainerExec(docker), userAgent: PROBE_USER_AGENT });
  const probes = createProbeManager({
    prober,
    events,
    clock,
    hostIp: () => nodeIps[0],
    shown: (pod) => api?.mirrors.of(pod)?.status,
    onProbe: metrics.probed,
    onEnd: metrics.probeEnded,
  });
  const status = createStatusManager({
    client,
    mirrors: api?.mirrors ?? { of: () => undefined },
    clock,
    log,
    onPublished: metrics.statusPublished,
  });
  const nodeView = {
    hostIps: client ? nodeIps : [],
    recursiveReadOnly: supportsRecursiveReadOnly(),
    heldDevices: devices.heldDevices,
  };
  let nodeOf: () => Node | undefined = () => undefined;
  const eviction = await createEvictionPart(
    options,
    {
      agent: () => agent,
      stats: statistics,
      engine,
      events,
      ...(api && { refreshNode: () => node?.keeper.refresh() }),
      heartbeats,
      registry,
    },
    context,
  );
  const shutdown = createNodeShutdownPart(
    options,
    { agent: () => agent, refreshNode: () => node?.keeper.refresh(), events: api?.events, registry },
    context,
  );
  const agent = createAgent(agentOptions(options), {
    docker,
    network,
    resources: managers.assign({
      ...resources,
      ensurePod: (pod) => metrics.cgroups('update', () => resources.ensurePod(pod)),
      removePod: (uid) => metrics.cgroups('destroy', () => resources.removePod(uid)),
    }),
    probes,
    status,
    computeStatus: (input) => computePodStatus(input, probes, nodeView),
    admission: {
      eviction: eviction.admission,
      ...createAdmissionPart(options, {
        node: () => nodeOf(),
        allocatable: () => devices.admissible(shares.allocatable, nodeOf()),
        workers: () => agent.workers,
        events,
        registry,
        clock,
        log,
      }),
      ...(shutdown && { shutdown: shutdown.admission }),
      topology: managers.createAdmission([devices.provider]),
    },
    onRejected: metrics.rejected,
    ...(api && { nodeEvent: nodeEvents(api.events, nodeName) }),
    allocations,
    resizingNode: () => describeResizingNode(config, engine, shares.allocatable),
    events,
    metrics,
    registry,
    heartbeats,
    devices: devices.ofContainers(engine),
    ...(podRuntime && { podRuntime }),
    volumePlugins: storage?.plugins ?? createStandalonePlugins(),
    manifestProblems: createManifestProblems({
      registry,
      tell: (message) =>
        api?.events.event(
          { apiVersion: 'v1', kind: 'Node', name: nodeName, uid: nodeName },
          'Warning',
          'InvalidStaticPod',
          message,
        ),
    }),
    ...(api && {
      podInformer: api.podInformer,
      // Service environment variables are fixed when a container starts: the services must be known before the first one.
      apiReady: api.servicesKnown,
      mirrors: api.mirrors,
      config: api.config,
      tokens: api.tokens,
      serviceAccount: api.serviceAccount,
      services: api.services,
    }),
    clock,
    log,
  });
  registerPodCounts({ registry, list: agent.workers.list });
  registerConfigurationMetrics(config, registry);
  const node =
    api &&
    storage &&
    keepNodeObject(
      {
        ...options,
        api,
        facts,
        resources: () => devices.withDevices(shares),
        engine,
        docker,
        network,
        heartbeats,
        lastRelistMonotonicMs: agent.directory.lastRelistMonotonicMs,
        shutdownProblem: () => shutdown?.problem(),
        pressure: eviction.pressure,
        volumesInUse: storage.volumesInUse,
        forgotDevices: devices.forgotAll,
      },
      context,
    );
  if (node) nodeOf = node.keeper.node;
  devices.onNodeChange(() => node?.keeper.refresh());
  const terminals = connectTerminals(options.dockerEndpoint);
  const server = createAgentServer(
    {
      address: config.address,
      port: config.port,
      ...options.serving,
      clientCaPem: options.clientCaPem,
      cipherSuites: config.tlsCipherSuites,
      minVersion: config.tlsMinVersion === 'VersionTLS13' ? 'TLSv1.3' : 'TLSv1.2',
      healthzBindAddress: config.healthzBindAddress,
      ...(config.healthzPort > 0 && { healthzPort: config.healthzPort }),
    },
    {
      pods: agent.directory,
      docker: { ...docker, containerLogs: createContainerLogs({ docker, clock, log }) },
      terminals,
      exec: createContainerExec(docker),
      ...(config.enableSystemLogHandler && { systemLogs: { directory: SYSTEM_LOGS } }),
      debuggingHandlers: config.enableDebuggingHandlers,
      program: { version: KUBERNETES_VERSION, flags: options.flags ?? {} },
      refuseAccess: countAccess(registry, createNodeAccess(options, context)),
      connectToPod: createPodConnector({ pods: agent.directory, docker }),
      // 0 switches it off: the longest that a timer can wait, which is 24 days.
      streamingIdleTimeoutMs: config.streamingConnectionIdleTimeoutMs || 2 ** 31 - 1,
      heartbeats,
      registry,
      probeRegistry,
      statistics: endpoints,
      metrics,
      configuration: () => renderConfigz(config),
      clock,
      log,
    },
  );
  const certificates = createCertificatesPart(options, { server }, context);
  await server.listen();
  return {
    async run(all) {
      try {
        const parts = {
          'agent server': server,
          ...certificates,
          ...nodeAllocatable,
          ...(api && { 'agent informers': api.informers }),
          ...node?.parts,
          ...(shutdown && { 'node shutdown': shutdown }),
          ...(processCgroups && { 'process cgroups': processCgroups }),
          ...(storage && { 'storage plugins': storage }),
          statistics,
          ...eviction.parts,
          ...managers.parts(),
          ...devices.parts(storage === undefined),
          'pod resources API': createPodResourcesApiPart(
            options.rootDir,
            { pods: agent.directory, managers, devices, registry },
            context,
          ),
          agent,
        };
        await runTogether(parts, all);
      } finally {
        api?.config.close();
        network.close();
        terminals.close();
        docker.close();
      }
    },
  };
}

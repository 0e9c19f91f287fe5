import { mkdirSync } from 'node:fs';
import { createAgent } from '../../agent/agent.ts';
import { createContainerExec } from '../../agent/containers/exec.ts';
import { readHostFacts } from '../../agent/node/host-facts.ts';
import type { PodDirectory } from '../../agent/pods/ports.ts';
import { createProbeManager } from '../../agent/probes/manager.ts';
import { createProber } from '../../agent/probes/prober.ts';
import { createPodRuntime } from '../../agent/sandbox/pod-runtime.ts';
import type { AgentServer } from '../../agent/server/server.ts';
import { registerConfigurationMetrics } from '../../agent/stats/configuration.ts';
import { createManifestProblems } from '../../agent/stats/manifests.ts';
import { createNodeMetrics } from '../../agent/stats/metrics.ts';
import { registerPodCounts } from '../../agent/stats/pod-counts.ts';
import { computePodStatus } from '../../agent/status/compute.ts';
import { createStatusManager } from '../../agent/status/manager.ts';
import { createStandalonePlugins } from '../../agent/volumes/persistent/claim-plugins.ts';
import { createStorage } from '../../agent/volumes/persistent/storage.ts';
import { connectDocker } from '../../src/docker/connect.ts';
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
import type { AgentPartOptions } from './agent-part-options.ts';
import { createAgentServerPart } from './agent-server-part.ts';
import { openAllocations } from './allocations.ts';
import { createCertificatesPart, nodeAddresses } from './certificates-part.ts';
import type { ProgramContext } from './context.ts';
import { openDevices } from './devices.ts';
import { createEvictionPart } from './eviction.ts';
import { logEvents } from './log-events.ts';
import { startNodeAllocatable } from './node-allocatable.ts';
import { nodeEvents } from './node-events.ts';
import { computeNodeShares, openPodResources } from './node-resources.ts';
import { createNodeShutdownPart } from './node-shutdown.ts';
import { settleOwnProcess } from './own-process.ts';
import { createPodResourcesApiPart } from './pod-resources-api.ts';
import { describeResizingNode } from './resizing-node.ts';
import { openResourceManagers } from './resource-managers.ts';
import { writeConfigInForce } from './settled-config.ts';
import { openStatistics } from './statistics.ts';

const ENGINE_RETRY = { initialMs: 100, maxMs: 5000 };
const PROBE_USER_AGENT = `kube-probe/${KUBERNETES_VERSION.slice(1).split('.').slice(0, 2).join('.')}`;

/** The node agent: pods, their status, the Node object and its lease. Ending it leaves the pods as they are. */
export async function createAgentPart(
  options: AgentPartOptions,
  context: ProgramContext,
  signal: AbortSignal,
): Promise<Runnable & Pick<AgentServer, 'serve'>> {
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
  const heartbeats = createHeartbeats(clock);
  const network = options.createNetwork({
    podCidrs: () => api?.podCidrs() ?? config.podCIDR.split(',').filter(Boolean),
    registry: options.metrics,
    heartbeats,
    ...(api && { tell: nodeEvents(api.events, nodeName) }),
  });
  const events = api?.events ?? logEvents(log);
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
  network.onChange(() => node?.keeper.refresh());
  devices.onNodeChange(() => node?.keeper.refresh());
  const { server, terminals } = createAgentServerPart(
    options,
    { agent, docker, heartbeats, registry, probeRegistry, endpoints, metrics },
    context,
  );
  const certificates = createCertificatesPart(
    options,
    { server, ...(api && { addresses: nodeAddresses(api, nodeName) }) },
    context,
  );
  await writeConfigInForce(config, options.rootDir);
  await server.listen();
  return {
    serve: server.serve,
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
          'pod network': network,
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

/** The whole agent with its node object, lease, status, probes and garbage collection, over an Engine and an API server in memory. */
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createAgent } from '../../agent/agent.ts';
import { AGENT_DEFAULTS, type AgentOptions } from '../../agent/agent-options.ts';
import { kubeletConfiguration } from '../../agent/config/kubelet-configuration.ts';
import { createContainerExec } from '../../agent/containers/exec.ts';
import { readHostFacts } from '../../agent/node/host-facts.ts';
import { createProbeManager } from '../../agent/probes/manager.ts';
import { createProber } from '../../agent/probes/prober.ts';
import { createNodeMetrics } from '../../agent/stats/metrics.ts';
import { computePodStatus } from '../../agent/status/compute.ts';
import { createStatusManager } from '../../agent/status/manager.ts';
import { connectAgentToApi, keepNodeObject } from '../../cli/roots/agent-api.ts';
import { nodeEvents } from '../../cli/roots/node-events.ts';
import { buildInfo } from '../../cli/version.ts';
import { loadConfig } from '../../src/config/load.ts';
import type { EventRecorder } from '../../src/kube/events.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import { createHeartbeats } from '../../src/runtime/heartbeat.ts';
import { silentLogger } from '../../src/runtime/log.ts';
import { createMetrics, Registry } from '../../src/runtime/metrics.ts';
import { runTogether } from '../../src/runtime/run-together.ts';
import { createFakeDocker } from '../fakes/docker.ts';
import { createFakeKubeClient } from '../fakes/kube-client.ts';
import { createFakePodNetwork } from '../fakes/pod-network.ts';
import { fakePodResources } from '../fakes/pod-resources.ts';

const NODE = 'node-1';
const RESOURCES = {
  cpuMillis: 4000,
  memoryBytes: 4 * 2 ** 30,
  ephemeralStorageBytes: 100 * 2 ** 30,
  pods: 110,
  hugepages: new Map<number, number>(),
};

/**
 * Runs from the start until `stop`. Images `pause:1` and `busybox:1` are there.
 * @param given `events`: who hears of them, instead of the API server
 */
export async function startWholeAgent(
  clock: Clock,
  given: { options?: Partial<AgentOptions>; events?: EventRecorder } = {},
) {
  const base = await mkdtemp('/tmp/berth-whole-agent-');
  const context = { clock, log: silentLogger };
  const config = loadConfig(kubeletConfiguration);
  const docker = createFakeDocker({ nowMs: clock.nowMs });
  docker.addImage('pause:1');
  docker.addImage('busybox:1');
  const network = createFakePodNetwork();
  const client = createFakeKubeClient(clock);
  const registry = createMetrics(buildInfo());
  const heartbeats = createHeartbeats(clock);
  const options: AgentOptions = {
    ...AGENT_DEFAULTS,
    nodeName: NODE,
    nodeHostname: NODE,
    nodeIps: ['192.0.2.1'],
    rootDir: join(base, 'root'),
    podLogsDir: join(base, 'pods'),
    containerLogsDir: join(base, 'containers'),
    pauseImage: 'pause:1',
    ...given.options,
  };
  const connected = connectAgentToApi(
    {
      client,
      nodeName: NODE,
      changeDetection: config.configMapAndSecretChangeDetectionStrategy,
      // As fast as they come: no test waits for its events.
      eventLimit: { perSecond: 0, burst: 0 },
    },
    context,
  );
  const api = { ...connected, ...(given.events && { events: given.events }) };
  const directory = {
    list: () => agent.directory.list(),
    runtime: (uid: string) => agent.directory.runtime(uid),
  };
  const probeRegistry = new Registry();
  const metrics = createNodeMetrics({ nodeName: NODE }, { registry, probeRegistry, pods: directory, clock });
  const probes = createProbeManager({
    prober: createProber({ exec: createContainerExec(docker), userAgent: 'kube-probe/1.36' }),
    events: api.events,
    clock,
    hostIp: () => '192.0.2.1',
    shown: (pod) => api.mirrors.of(pod)?.status,
    onProbe: metrics.probed,
    onEnd: metrics.probeEnded,
  });
  const status = createStatusManager({
    client,
    mirrors: api.mirrors,
    ...context,
    onPublished: metrics.statusPublished,
  });
  const agent = createAgent(options, {
    docker,
    network,
    resources: fakePodResources,
    probes,
    status,
    computeStatus: (input) =>
      computePodStatus(input, probes, { hostIps: options.nodeIps, recursiveReadOnly: false, heldDevices: () => [] }),
    admission: {},
    nodeEvent: nodeEvents(api.events, NODE),
    events: api.events,
    metrics,
    registry,
    heartbeats,
    podInformer: api.podInformer,
    apiReady: api.servicesKnown,
    mirrors: api.mirrors,
    config: api.config,
    tokens: api.tokens,
    serviceAccount: api.serviceAccount,
    services: api.services,
    ...context,
  });
  const node = keepNodeObject(
    {
      api,
      config,
      nodeName: NODE,
      nodeIps: options.nodeIps,
      facts: await readHostFacts(base),
      resources: () => ({ capacity: RESOURCES, allocatable: RESOURCES }),
      engine: await docker.info(),
      docker,
      network,
      heartbeats,
      lastRelistMonotonicMs: agent.directory.lastRelistMonotonicMs,
      volumesInUse: () => [],
      shutdownProblem: () => undefined,
      metrics: registry,
      pressure: () => ({ memoryPressure: false, diskPressure: false, pidPressure: false }),
    },
    context,
  );
  const stop = new AbortController();
  const running = runTogether({ 'agent informers': api.informers, ...node.parts, agent }, stop.signal);
  return {
    docker,
    network,
    client,
    events: api.events,
    agent,
    heartbeats,
    registry,
    async stop() {
      stop.abort();
      await running;
      api.config.close();
      await rm(base, { recursive: true, force: true });
    },
  };
}

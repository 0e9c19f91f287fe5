import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Agent, type AgentDependencies, createAgent } from '../../agent/agent.ts';
import { AGENT_DEFAULTS, type AgentOptions } from '../../agent/agent-options.ts';
import { createContainerExec } from '../../agent/containers/exec.ts';
import type { AgentMetrics, EventSink, PodNetwork, PodRuntimeStatus } from '../../agent/pods/ports.ts';
import { createProbeManager } from '../../agent/probes/manager.ts';
import { createProber } from '../../agent/probes/prober.ts';
import { hasSysResource } from '../../agent/resources/capabilities.ts';
import { createPodResources, type PodResourcesOptions } from '../../agent/resources/pod-resources.ts';
import { computePodStatus } from '../../agent/status/compute.ts';
import { createStatusManager } from '../../agent/status/manager.ts';
import type { ResourceManagers } from '../../cli/roots/resource-managers.ts';
import type { DockerEngine } from '../../src/docker/engine.ts';
import { isDockerNotFound } from '../../src/docker/errors.ts';
import type { Pod } from '../../src/kube/types.ts';
import { openCgroups } from '../../src/linux/cgroup/cgroups.ts';
import { readMounts, supportsRecursiveReadOnly, unmount } from '../../src/linux/mounts.ts';
import { systemClock } from '../../src/runtime/clock.ts';
import { type Logger, silentLogger } from '../../src/runtime/log.ts';
import { PAUSE_IMAGE } from './images.ts';

/** Metrics that nobody reads. */
export const noMetrics: AgentMetrics = {
  podWorker() {},
  podStarted() {},
  podWorkerStarted() {},
  imagePulled() {},
  orphanFound() {},
  podRestarted() {},
  podAdded() {},
  containerStarted() {},
  lifecycleHttpFallback() {},
  runtimeOperation: (_, call) => call(),
  relist: (call) => call(),
};

export interface RecordedEvent {
  pod: string;
  type: string;
  reason: string;
  message: string;
  atMs: number;
}

export interface TestAgent {
  agent: Agent;
  events: RecordedEvent[];
  manifests: string;
  rootDir: string;
  podLogsDir: string;
  cgroupRoot: string;
  /** Writes `<name>.json` into the manifest directory. */
  apply(manifest: object & { metadata: { name: string } }): Promise<void>;
  /** Removes the manifest. */
  unapply(name: string): Promise<void>;
  start(): void;
  /** Aborts the run, as a stop of the daemon would: containers stay. */
  stop(): Promise<void>;
  pod(name: string): Pod | undefined;
  runtime(name: string): PodRuntimeStatus | undefined;
  remove(): Promise<void>;
}

export interface TestAgentOptions {
  docker: DockerEngine;
  network: PodNetwork;
  podRuntime?: AgentDependencies['podRuntime'];
  /** Directories of an earlier agent, to play its restart. */
  base?: string;
  cgroupRoot?: string;
  log?: Logger;
  options?: Partial<AgentOptions>;
  /** Of CPUs, memory and topology; `docker` is the one that they follow. */
  managers?: Pick<ResourceManagers, 'assign' | 'createAdmission' | 'hasExclusiveCpus'>;
  /** Limits of the node and its cgroups. */
  resources?: Partial<PodResourcesOptions>;
}

const NODE_RESOURCES = {
  cpuMillis: 4000,
  memoryBytes: 4 * 2 ** 30,
  ephemeralStorageBytes: 100 * 2 ** 30,
  pods: 110,
  hugepages: new Map<number, number>(),
};

/** A whole agent on a given Engine, standalone: pods from a manifest directory, real cgroups below a root of its own. */
export async function createTestAgent(given: TestAgentOptions): Promise<TestAgent> {
  const base = given.base ?? (await mkdtemp('/tmp/berth-agent-'));
  const { docker, network, log = silentLogger } = given;
  const cgroupRoot = given.cgroupRoot ?? `/${base.split('/').pop()}`;
  const manifests = join(base, 'manifests');
  await mkdir(manifests, { recursive: true });
  const clock = systemClock;
  const events: RecordedEvent[] = [];
  const sink: EventSink = {
    event(pod, type, reason, message) {
      events.push({ pod: pod.metadata.name, type, reason, message, atMs: clock.nowMs() });
    },
  };
  const cgroups = await openCgroups();
  const { cgroupDriver } = await docker.info();
  const resources = createPodResources(
    {
      driver: cgroupDriver === 'systemd' ? 'systemd' : 'cgroupfs',
      cgroupRoot,
      capacity: NODE_RESOURCES,
      unreserved: NODE_RESOURCES,
      allocatable: NODE_RESOURCES,
      enforcePods: true,
      canLowerOomScore: hasSysResource(),
      cpuCfsQuota: true,
      cpuCfsQuotaPeriodUs: 100_000,
      podPidsLimit: -1,
      ...(given.managers && { hasExclusiveCpus: given.managers.hasExclusiveCpus }),
      ...given.resources,
    },
    { cgroups },
  );
  await resources.ensureNode();
  const prober = createProber({ exec: createContainerExec(docker), userAgent: 'kube-probe/1.36' });
  const probes = createProbeManager({ prober, events: sink, clock, hostIp: () => '127.0.0.1' });
  const status = createStatusManager({ mirrors: { of: () => undefined }, clock, log });
  const options: AgentOptions = {
    ...AGENT_DEFAULTS,
    nodeName: 'node-1',
    nodeHostname: 'node-1',
    nodeIps: ['192.0.2.1'],
    rootDir: join(base, 'root'),
    podLogsDir: join(base, 'log/pods'),
    containerLogsDir: join(base, 'log/containers'),
    pauseImage: PAUSE_IMAGE,
    staticPodPath: manifests,
    ...given.options,
  };
  const nodeView = { hostIps: options.nodeIps, recursiveReadOnly: supportsRecursiveReadOnly() };
  const agent = createAgent(options, {
    docker,
    network,
    resources: given.managers?.assign(resources) ?? resources,
    probes,
    status,
    computeStatus: (input) => computePodStatus(input, probes, nodeView),
    admission: given.managers ? { topology: given.managers.createAdmission([]) } : {},
    events: sink,
    metrics: noMetrics,
    ...(given.podRuntime && { podRuntime: given.podRuntime }),
    clock,
    log,
  });
  let running: { stop: AbortController; done: Promise<void> } | undefined;
  const stop = async () => {
    running?.stop.abort();
    await running?.done;
    running = undefined;
  };
  const find = (name: string) => agent.directory.get('default', `${name}-node-1`);

  return {
    agent,
    events,
    manifests,
    rootDir: options.rootDir,
    podLogsDir: options.podLogsDir,
    cgroupRoot,
    async apply(manifest) {
      await writeFile(join(manifests, `${manifest.metadata.name}.json`), JSON.stringify(manifest));
    },
    async unapply(name) {
      await rm(join(manifests, `${name}.json`));
    },
    start() {
      const stop = new AbortController();
      running = { stop, done: agent.run(stop.signal) };
    },
    stop,
    pod: find,
    runtime(name) {
      const pod = find(name);
      return pod && agent.directory.runtime(pod.metadata.uid);
    },
    async remove() {
      await stop();
      // What the agent had begun to remove the Engine goes on with.
      for (const { id } of await docker.listContainers({}))
        await docker.removeContainer(id, { force: true }).catch((error) => {
          if (!isDockerNotFound(error)) throw error;
        });
      for (const { target } of readMounts().reverse())
        if (target.startsWith(`${base}/`)) unmount(target, { lazy: true });
      await resources.removeAll();
      await cgroups.remove(cgroupRoot);
      await rm(base, { recursive: true, force: true });
    },
  };
}

/** Polls until it holds; the error says what was waited for. */
export async function eventually<T>(
  what: string,
  check: () => T | undefined | false | null | Promise<T | undefined | false | null>,
  timeoutMs = 60_000,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const value = await check();
    if (value) return value;
    if (performance.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

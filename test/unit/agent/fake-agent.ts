import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import type { AgentDependencies } from '../../../agent/agent.ts';
import { AGENT_DEFAULTS, type AgentOptions } from '../../../agent/agent-options.ts';
import { buildAgentParts } from '../../../agent/agent-parts.ts';
import type { ProbeManager, StatusManager } from '../../../agent/pods/ports.ts';
import { computePodStatus } from '../../../agent/status/compute.ts';
import type { Pod, PodStatus } from '../../../src/kube/types.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { silentLogger } from '../../../src/runtime/log.ts';
import { createFakeDocker } from '../../fakes/docker.ts';
import { createFakePodNetwork } from '../../fakes/pod-network.ts';
import { fakePodResources } from '../../fakes/pod-resources.ts';
import { noMetrics } from '../../support/agent.ts';
import { eventually } from '../../support/eventually.ts';

/** Pod workers over the fake Engine and the fake network, with real directories below a temporary root. */
export async function createFakeAgent(
  t: ExecutionContext,
  override: Partial<AgentDependencies> = {},
  crashLoopMaxMs = 300,
) {
  const base = await mkdtemp('/tmp/berth-unit-agent-');
  const docker = createFakeDocker();
  docker.addImage('pause:1');
  docker.addImage('busybox:1');
  const network = createFakePodNetwork();
  const events: { reason: string; message: string; fieldPath?: string }[] = [];
  const published: { uid: string; status: PodStatus }[] = [];
  const finished: string[] = [];
  const statuses = new Map<string, PodStatus>();
  const results = new Map<string, 'success' | 'failure'>();
  const status: StatusManager = {
    get: (uid) => statuses.get(uid),
    known: (pod) => statuses.get(pod.metadata.uid) ?? pod.status,
    set(pod, value) {
      statuses.set(pod.metadata.uid, value);
      published.push({ uid: pod.metadata.uid, status: value });
    },
    async landed() {},
    observe() {},
    finished: (pod) => finished.push(pod.metadata.uid),
    retain(uids) {
      for (const uid of statuses.keys()) if (!uids.has(uid)) statuses.delete(uid);
    },
    async run() {},
  };
  const probes: ProbeManager = {
    liveness: (id) => results.get(id),
    startup: () => undefined,
    readiness: () => undefined,
    onChange: () => () => {},
    addPod() {},
    observe() {},
    stopLivenessAndStartup() {},
    removePod() {},
    retain() {},
    async run() {},
  };
  const options: AgentOptions = {
    ...AGENT_DEFAULTS,
    nodeName: 'node-1',
    nodeHostname: 'node-1',
    nodeIps: ['192.0.2.1'],
    rootDir: join(base, 'root'),
    podLogsDir: join(base, 'pods'),
    containerLogsDir: join(base, 'containers'),
    pauseImage: 'pause:1',
    crashLoopMaxMs,
  };
  const parts = buildAgentParts(options, {
    docker,
    network,
    resources: fakePodResources,
    probes,
    status,
    computeStatus: (input) =>
      computePodStatus(input, { startup: () => undefined, readiness: () => undefined }, { hostIps: [] }),
    admission: {},
    events: { event: (_pod, _type, reason, message, fieldPath) => events.push({ reason, message, fieldPath }) },
    metrics: noMetrics,
    clock: systemClock,
    log: silentLogger,
    onRuntimeChange: (uid) => parts.workers.poke(uid),
    ...override,
  });
  const stop = new AbortController();
  parts.setEngine({ dockerRootDir: '/var/lib/docker', securityOptions: ['name=seccomp,profile=default'] });
  const running = Promise.all([
    parts.workers.run(stop.signal),
    (async () => {
      for await (const event of docker.containerEvents({}, stop.signal)) parts.runtime.onEvent(event);
    })().catch(() => undefined),
  ]);
  t.teardown(async () => {
    stop.abort();
    await running;
    await rm(base, { recursive: true, force: true });
  });
  return {
    ...parts,
    docker,
    network,
    events,
    published,
    finished,
    statuses,
    results,
    base,
    reasons: () => events.map(({ reason }) => reason),
    phase: (pod: Pod) => statuses.get(pod.metadata.uid)?.phase,
    container(pod: Pod, name: string) {
      return parts.runtime.pod(pod.metadata.uid).containers.find((one) => one.name === name);
    },
    runningNames: () =>
      [...docker.containers.values()]
        .filter(({ detail }) => detail.state === 'running')
        .map(({ detail }) => detail.name),
  };
}

/** Polls until it holds. */
export const until = (what: string, check: () => unknown): Promise<void> => eventually(what, () => Boolean(check()));

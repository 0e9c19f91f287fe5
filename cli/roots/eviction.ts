import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Agent } from '../../agent/agent.ts';
import type { KubeletConfiguration } from '../../agent/config/kubelet-configuration.ts';
import { evictionHardOf } from '../../agent/config/sections/eviction.ts';
import { createPressureHandler } from '../../agent/eviction/admission.ts';
import { holdMemory } from '../../agent/eviction/hold-memory.ts';
import { createEvictionManager } from '../../agent/eviction/manager.ts';
import { createMemoryGuard } from '../../agent/eviction/memory-guard.ts';
import { createEvictionMetrics } from '../../agent/eviction/metrics.ts';
import { parseThresholds } from '../../agent/eviction/thresholds.ts';
import type { NodeHealth } from '../../agent/node/conditions.ts';
import type { AdmitHandler } from '../../agent/pods/admission-ports.ts';
import { cgroupPath, KUBEPODS, podCgroup } from '../../agent/resources/cgroup-names.ts';
import { podQosClass } from '../../agent/resources/qos.ts';
import type { StatsProvider } from '../../agent/stats/summary.ts';
import type { EngineInfo } from '../../src/docker/engine.ts';
import type { EventRecorder } from '../../src/kube/events.ts';
import { findHierarchies } from '../../src/linux/cgroup/hierarchies.ts';
import type { Heartbeats } from '../../src/runtime/heartbeat.ts';
import type { Registry } from '../../src/runtime/metrics.ts';
import type { Runnable } from '../../src/runtime/run-together.ts';
import type { ProgramContext } from './context.ts';

export interface EvictionPartOptions {
  config: KubeletConfiguration;
  nodeName: string;
  rootDir: string;
}

export interface EvictionPartDependencies {
  agent(): Pick<Agent, 'workers' | 'directory' | 'reclaim'>;
  stats: StatsProvider;
  engine: Pick<EngineInfo, 'cgroupDriver' | 'dockerRootDir'>;
  events: Pick<EventRecorder, 'event'>;
  /** The Node object can be told of; absent without an API server. */
  refreshNode?(): void;
  heartbeats: Heartbeats;
  registry: Registry;
}

export interface EvictionPart {
  admission: AdmitHandler;
  pressure(): Pick<NodeHealth, 'memoryPressure' | 'diskPressure' | 'pidPressure'>;
  parts: Record<string, Runnable>;
}

const MOST_SILENT_MS = 300_000;

/** Eviction, with what it reads of this host. */
export async function createEvictionPart(
  { config, nodeName, rootDir }: EvictionPartOptions,
  deps: EvictionPartDependencies,
  { log, clock }: ProgramContext,
): Promise<EvictionPart> {
  const { agent, engine, events, refreshNode } = deps;
  const thresholds = parseThresholds(
    { ...config, evictionHard: evictionHardOf(config) },
    config.enforceNodeAllocatable.includes('pods'),
  );
  const { version, controllers } = await findHierarchies('/sys/fs/cgroup');
  const memoryRoot = controllers.get('memory') ?? '/sys/fs/cgroup';
  const driver = engine.cgroupDriver === 'systemd' ? 'systemd' : 'cgroupfs';
  const root = (config.cgroupRoot || '/').split('/').filter(Boolean);
  const directoryOf = (name: readonly string[]) => join(memoryRoot, cgroupPath(driver, [...root, ...name]));
  const manager = createEvictionManager(
    {
      thresholds,
      transitionPeriodMs: config.evictionPressureTransitionPeriodMs,
      maxPodGraceSeconds: config.evictionMaxPodGracePeriod,
      enforceLocalStorage: config.localStorageCapacityIsolation,
    },
    {
      ...deps,
      reclaim: {
        deleteUnusedImages: (stop) => agent().reclaim.deleteUnusedImages(stop),
        deleteDeadContainers: (stop) => agent().reclaim.deleteDeadContainers(stop),
      },
      async diskLayout() {
        const [own, engines] = await Promise.all([stat(rootDir), stat(engine.dockerRootDir)]);
        return own.dev === engines.dev ? 'shared' : 'imagefs';
      },
      candidates: () => candidates(agent()),
      condemn: (uid, verdict) => agent().workers.condemn(uid, verdict),
      isGone: (uid) => (agent().workers.get(uid)?.state ?? 'finished') === 'finished',
      holdMemory: (pod) => holdMemory(directoryOf(podCgroup(podQosClass(pod), pod.metadata.uid)), version),
      tellPod: (pod, message, annotations) => events.event(pod, 'Warning', 'Evicted', message, undefined, annotations),
      tellNode(reason, message) {
        const node = { apiVersion: 'v1', kind: 'Node', name: nodeName, uid: nodeName };
        if (refreshNode) events.event(node, 'Warning', reason, message);
      },
      onConditions: () => refreshNode?.(),
      metrics: createEvictionMetrics(deps.registry),
      beat: deps.heartbeats.register('eviction', MOST_SILENT_MS),
      clock,
      log,
    },
  );
  const guard = createMemoryGuard(
    {
      thresholds,
      cgroupVersion: version,
      rootDirectory: memoryRoot,
      podsDirectory: directoryOf(KUBEPODS),
      notifications: config.kernelMemcgNotification !== false,
    },
    { onLow: manager.memoryIsLow, clock, log },
  );
  return {
    admission: createPressureHandler(manager.conditions),
    pressure() {
      const conditions = manager.conditions();
      return {
        memoryPressure: conditions.has('MemoryPressure'),
        diskPressure: conditions.has('DiskPressure'),
        pidPressure: conditions.has('PIDPressure'),
      };
    },
    parts: { eviction: manager, 'memory guard': guard },
  };
}

/** Pods that would give something back: something of them runs, and nobody has condemned them yet. */
function candidates({ workers, directory }: Pick<Agent, 'workers' | 'directory'>) {
  return workers.list().flatMap(({ uid, state, isAdmitted, isOrphan, override, pod }) => {
    if (isOrphan || !isAdmitted || override || (state !== 'syncing' && state !== 'terminating')) return [];
    if (!directory.runtime(uid)?.containers.some((one) => one.state === 'running')) return [];
    return [directory.getByUid(uid) ?? pod];
  });
}

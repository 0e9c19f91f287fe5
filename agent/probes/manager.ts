import type { Pod, PodStatus } from '../../src/kube/types.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { EventSink, ProbeManager } from '../pods/ports.ts';
import type { Prober } from './prober.ts';
import { createResultStore } from './results.ts';
import { PROBE_TYPES, type ProbeType, probedContainers, probeSettings } from './settings.ts';
import { createProbeWorker, type ProbedPod, type ProbeReport, type ProbeWorker } from './worker.ts';

export interface ProbeManagerDeps {
  prober: Prober;
  events: EventSink;
  clock: Clock;
  /** Where host-network pods are probed. */
  hostIp: () => string | undefined;
  /** What the API shows of a static pod, which its source knows nothing of. */
  shown?: (pod: Pod) => PodStatus | undefined;
  /** prober_probe_total and prober_probe_duration_seconds. */
  onProbe?: (report: ProbeReport) => void;
  /** There are no more probes of this kind: their series go. */
  onEnd?: (probe: Pick<ProbeReport, 'pod' | 'container' | 'type'>) => void;
  random?: () => number;
}

interface ProbedPodEntry {
  seen: ProbedPod;
  /** By `<type>/<container>`. */
  workers: Map<string, ProbeWorker>;
  /** Workers that ended by themselves are not made again for this pod. */
  done: Set<string>;
}

/** Keeps one worker for each probe of each pod's containers; results drive status and plans through `onChange`. */
export function createProbeManager(deps: ProbeManagerDeps): ProbeManager {
  const { clock, random = Math.random } = deps;
  const results = createResultStore();
  const pods = new Map<string, ProbedPodEntry>();
  const agentStartedAtMs = clock.nowMs();

  function entryOf(pod: Pod): ProbedPodEntry {
    const { uid } = pod.metadata;
    let entry = pods.get(uid);
    if (!entry) {
      const seen: ProbedPod = {
        pod,
        runtime: undefined,
        podIp: () => podIpOf(seen),
        published: () => deps.shown?.(seen.pod) ?? seen.pod.status,
      };
      entry = { seen, workers: new Map(), done: new Set() };
      pods.set(uid, entry);
    }
    // The copy that was first seen after a restart carries the status of then; a later one without status must not hide it.
    entry.seen.pod = pod.status ? pod : { ...pod, ...(entry.seen.pod.status && { status: entry.seen.pod.status }) };
    return entry;
  }

  function podIpOf({ pod, runtime }: ProbedPod): string | undefined {
    return pod.spec.hostNetwork ? deps.hostIp() : runtime?.ips[0];
  }

  function remove(uid: string) {
    const entry = pods.get(uid);
    if (!entry) return;
    pods.delete(uid);
    for (const [key, worker] of entry.workers) {
      worker.end();
      forget(entry, key, worker);
    }
    for (const { id } of entry.seen.runtime?.containers ?? []) for (const type of PROBE_TYPES) results.remove(type, id);
  }

  function forget({ seen }: ProbedPodEntry, key: string, { container }: ProbeWorker) {
    deps.onEnd?.({ pod: seen.pod, container, type: key.split('/')[0] as ProbeType });
  }

  function addWorkers(entry: ProbedPodEntry) {
    const { seen, workers, done } = entry;
    for (const container of probedContainers(seen.pod))
      for (const type of PROBE_TYPES) {
        const settings = probeSettings(container, type);
        const key = `${type}/${container.name}`;
        if (!settings || done.has(key)) continue;
        const worker = workers.get(key);
        if (worker) Object.assign(worker, { settings, container });
        else workers.set(key, createWorker(entry, key, type, { settings, container }));
      }
  }

  function createWorker(
    entry: ProbedPodEntry,
    key: string,
    type: ProbeType,
    first: Pick<ProbeWorker, 'settings' | 'container'>,
  ): ProbeWorker {
    const worker = createProbeWorker(type, first, entry.seen, {
      prober: deps.prober,
      results,
      clock,
      random,
      agentStartedAtMs,
      event: (pod, severity, reason, message, fieldPath) =>
        deps.events.event(pod, severity, reason, message, fieldPath),
      report: (report) => deps.onProbe?.(report),
      ended() {
        entry.workers.delete(key);
        entry.done.add(key);
        forget(entry, key, worker);
      },
      startupSucceeded() {
        for (const other of PROBE_TYPES) entry.workers.get(`${other}/${first.container.name}`)?.trigger();
      },
    });
    return worker;
  }

  return {
    startup: results.startup,
    liveness: results.liveness,
    readiness: results.readiness,
    onChange: results.onChange,
    addPod(pod) {
      addWorkers(entryOf(pod));
    },
    observe(pod, runtime) {
      const entry = entryOf(pod);
      entry.seen.runtime = runtime;
      for (const worker of [...entry.workers.values()]) worker.observed();
    },
    stopLivenessAndStartup(uid) {
      const entry = pods.get(uid);
      for (const [key, worker] of entry?.workers ?? []) {
        if (key.startsWith('readiness/')) continue;
        worker.end('success');
        entry!.workers.delete(key);
        entry!.done.add(key);
        forget(entry!, key, worker);
      }
    },
    removePod: remove,
    retain(uids) {
      for (const uid of pods.keys()) if (!uids.has(uid)) remove(uid);
    },
    async run(signal) {
      if (!signal.aborted)
        await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
      for (const uid of [...pods.keys()]) remove(uid);
    },
  };
}

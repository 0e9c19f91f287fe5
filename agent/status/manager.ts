import type { KubeClient } from '../../src/kube/client.ts';
import { ApiError, isConflict, isNotFound } from '../../src/kube/errors.ts';
import { pods } from '../../src/kube/resources.ts';
import type { Pod, PodStatus } from '../../src/kube/types.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import { createKeyedQueue } from '../../src/runtime/keyed-queue.ts';
import type { Logger } from '../../src/runtime/log.ts';
import type { MirrorPods, StatusManager } from '../pods/ports.ts';
import { diffPodStatus } from './patch.ts';
import { isStaticPod, isTerminalPhase } from './phase.ts';
import { forbiddenTransition } from './transitions.ts';

export interface StatusManagerDeps {
  /** Without one (standalone mode) statuses are only cached. */
  client?: KubeClient;
  mirrors: MirrorPods;
  log: Logger;
  clock: Clock;
  /** kubelet_pod_status_sync_duration_seconds: from the change to its landing. */
  onPublished?: (seconds: number) => void;
}

interface Entry {
  pod: Pod;
  status: PodStatus;
  /** Counts changes of `status`; what has not landed is `version > publishedVersion`. */
  version: number;
  publishedVersion: number;
  changedAtMs: number;
  finished: boolean;
  /** A patch is on its way. */
  isPatching?: boolean;
  /** The newest object that the API server is known to have: the source's, or its answer to our last patch. */
  live?: Pod;
  /** resourceVersion at which the status had landed: what still differs there, the server does not keep. */
  settledAt?: string;
}

const CONCURRENCY = 10;
const RETRY = { initialMs: 200, maxMs: 10_000, jitter: 0.5 };

/**
 * Publishes pod statuses: each change at once, with one patch, coalescing what changes while one is under way; then, for
 * a pod that is to go, deletes the object once its final status has landed and the worker has finished.
 *
 *     set ──▶ cache (version n) ──▶ queue ──▶ PATCH pods/status (uid) ──▶ DELETE (uid, grace 0), if finished and deleted
 */
export function createStatusManager(deps: StatusManagerDeps): StatusManager {
  const { client, mirrors, clock } = deps;
  const log = deps.log.child({ part: 'status' });
  const entries = new Map<string, Entry>();
  const afterAttempt: (() => void)[] = [];

  const queue = createKeyedQueue({
    concurrency: CONCURRENCY,
    clock,
    retry: RETRY,
    process: publish,
    onError: (uid, error, delayMs) =>
      log.warn(
        { err: error, pod: nameOf(entries.get(uid)?.pod), delayMs },
        'a pod status could not be published; will retry',
      ),
  });

  /** The API object that shows this pod, as newly as we know it; undefined: there is none (yet). */
  function liveObject(entry: Entry): Pod | undefined {
    const source = isStaticPod(entry.pod) ? mirrors.of(entry.pod) : entry.pod;
    if (!source) return undefined;
    const { live } = entry;
    const known = live?.metadata.uid === source.metadata.uid ? live : undefined;
    return known && !isNewer(source, known) ? known : source;
  }

  async function publish(uid: string, signal: AbortSignal): Promise<void> {
    const entry = entries.get(uid);
    if (!entry || !client) return;
    const target = liveObject(entry);
    if (!target) return;
    try {
      await patch(client, entry, target, signal);
      await removeFinished(client, entry, signal);
    } catch (error) {
      if (error instanceof ApiError && error.code === 422) {
        // Refused for good: only a new status can help, repeating this one cannot.
        log.error({ err: error, pod: nameOf(entry.pod) }, 'the API server refuses this pod status');
        return;
      }
      if (!isNotFound(error) && !isConflict(error)) throw error;
      // Gone, or another pod of that name: nothing of ours to report there.
      log.debug({ pod: nameOf(entry.pod), reason: error.reason }, 'the pod is gone from the API');
      if (!isStaticPod(entry.pod)) entries.delete(uid);
    } finally {
      for (const tell of afterAttempt.splice(0)) tell();
    }
  }

  /** Resolves after the next attempt to publish, of whatever pod. */
  function nextAttempt(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      const abort = () => reject(signal.reason);
      signal.addEventListener('abort', abort, { once: true });
      afterAttempt.push(() => {
        signal.removeEventListener('abort', abort);
        resolve();
      });
    });
  }

  async function patch(api: KubeClient, entry: Entry, target: Pod, signal: AbortSignal) {
    const { version, status, changedAtMs } = entry;
    const body = diffPodStatus(target.metadata.uid, target.status, status);
    entry.live = target;
    if (body) {
      const { name, namespace } = target.metadata;
      const options = { name, namespace, subresource: 'status', type: 'strategic', patch: body, signal } as const;
      entry.isPatching = true;
      try {
        entry.live = await api.patch(pods, options);
      } finally {
        entry.isPatching = false;
      }
      deps.onPublished?.((clock.monotonicMs() - changedAtMs) / 1000);
      log.debug({ pod: nameOf(target), phase: status.phase, version }, 'pod status published');
    }
    entry.publishedVersion = Math.max(entry.publishedVersion, version);
    entry.settledAt = entry.live.metadata.resourceVersion;
  }

  /** Deletes only what its final status has reached: a watcher must see how the pod ended. */
  async function removeFinished(api: KubeClient, entry: Entry, signal: AbortSignal) {
    const { live, pod } = entry;
    if (!entry.finished || isStaticPod(pod) || !live) return;
    const deleting = pod.metadata.deletionTimestamp ?? live.metadata.deletionTimestamp;
    if (!deleting || !isTerminalPhase(live.status?.phase) || entry.version > entry.publishedVersion) return;
    const { name, namespace, uid } = live.metadata;
    await api.delete(pods, { name, namespace, uid, gracePeriodSeconds: 0, signal });
    entries.delete(uid);
    log.debug({ pod: nameOf(live) }, 'pod object removed');
  }

  /** Not landed yet, or somebody overwrote what had, or a mirror pod has just appeared. */
  function publishIfDifferent(entry: Entry): void {
    const live = liveObject(entry);
    const { resourceVersion, uid } = live?.metadata ?? {};
    if (!live || !uid || (entry.version === entry.publishedVersion && resourceVersion === entry.settledAt)) return;
    // What is under way makes another object of it, whatever it looks like now.
    if (entry.isPatching || diffPodStatus(uid, live.status, entry.status)) queue.add(entry.pod.metadata.uid);
    else Object.assign(entry, { publishedVersion: entry.version, settledAt: resourceVersion });
  }

  const manager: StatusManager = {
    get: (uid) => entries.get(uid)?.status,
    known(pod) {
      const entry = entries.get(pod.metadata.uid);
      if (!isStaticPod(pod)) return entry?.status ?? pod.status;
      // Before the mirror is known, a static pod that runs since the agent's last life looks as if it had just begun.
      const shown = entry && entry.publishedVersion > 0 ? undefined : mirrors.of(pod)?.status;
      return (shown?.startTime ? withoutVerdict(shown) : entry?.status) ?? pod.status;
    },
    set(pod, status) {
      const { uid } = pod.metadata;
      // What an earlier life of this agent has published binds this one.
      const before = manager.known(pod);
      const changedAtMs = clock.monotonicMs();
      const known = entries.get(uid);
      const entry = known ?? {
        pod,
        status: before ?? {},
        version: 0,
        publishedVersion: 0,
        changedAtMs,
        finished: false,
      };
      entries.set(uid, entry);
      entry.pod = pod;
      const why = forbiddenTransition(pod, before, status);
      if (why) return log.error({ pod: nameOf(pod) }, `a status is not published: ${why}`);
      if (!known || diffPodStatus(uid, entry.status, status))
        Object.assign(entry, { status, changedAtMs, version: entry.version + 1 });
      if (known) publishIfDifferent(entry);
      else queue.add(uid);
    },
    async landed(uid, signal) {
      const hasLanded = () => {
        const entry = entries.get(uid);
        return !client || !entry || entry.version <= entry.publishedVersion || !liveObject(entry);
      };
      while (!hasLanded()) await nextAttempt(signal);
    },
    observe(pod) {
      const entry = entries.get(pod.metadata.uid);
      if (!entry || isStaticPod(pod)) return;
      entry.pod = pod;
      // What has not landed is on its way; and a pod that was declared over is not brought back to life by an old word of ours.
      if (entry.version > entry.publishedVersion || isTerminalPhase(pod.status?.phase)) return;
      publishIfDifferent(entry);
    },
    finished(pod) {
      const { uid } = pod.metadata;
      const entry = entries.get(uid);
      if (entry) {
        entry.pod = pod;
        entry.finished = true;
        if (!isTerminalPhase(entry.status.phase) && !isStaticPod(pod)) {
          // Nothing of it is left, so it is over, whatever the last look at it said.
          entry.status = { ...entry.status, phase: 'Failed' };
          entry.version++;
        }
      } else {
        const status = pod.status ?? {};
        entries.set(uid, {
          pod,
          status,
          version: 0,
          publishedVersion: 0,
          changedAtMs: clock.monotonicMs(),
          finished: true,
        });
      }
      queue.add(uid);
    },
    retain(uids) {
      for (const uid of entries.keys()) if (!uids.has(uid)) entries.delete(uid);
    },
    async run(signal) {
      // What waits for its next try need not, once the server is back.
      const forget = client?.onReturn?.(() => {
        for (const [uid, entry] of entries)
          if (entry.version > entry.publishedVersion || entry.finished) queue.add(uid);
      });
      await queue.run(signal);
      forget?.();
    },
  };
  return manager;
}

/** resourceVersions of one resource are numbers that grow (since 1.35 part of the API's promise). */
function isNewer(one: Pod, other: Pod): boolean {
  const [a, b] = [one.metadata.resourceVersion, other.metadata.resourceVersion];
  if (!/^\d+$/.test(a ?? '') || !/^\d+$/.test(b ?? '')) return a !== b;
  return BigInt(a) > BigInt(b);
}

/** A static pod that was rejected in an earlier life, or ended, is looked at anew: its containers tell how it is. */
function withoutVerdict(status: PodStatus): PodStatus {
  if (!isTerminalPhase(status.phase)) return status;
  const { phase: _phase, reason: _reason, message: _message, ...rest } = status;
  return rest;
}

function nameOf(pod: Pod | undefined): string {
  return pod ? `${pod.metadata.namespace}/${pod.metadata.name}` : '';
}

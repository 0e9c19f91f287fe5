import type { ContainerEvent, ContainerSummary, DockerEngine } from '../../src/docker/engine.ts';
import { isDockerNotFound } from '../../src/docker/errors.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { type ContainerIdentity, LABEL } from '../containers/identity.ts';
import { createContainerReader, type ObservedContainer } from './container-reader.ts';
import type { AgentMetrics, ContainerRuntimeStatus, PodNetwork, PodRuntimeStatus, SandboxStatus } from './ports.ts';
import type { PodResources } from './resource-ports.ts';

export interface RuntimeCacheDependencies {
  docker: DockerEngine;
  network: Pick<PodNetwork, 'ips'>;
  nodeName: string;
  metrics: Pick<AgentMetrics, 'runtimeOperation'>;
  resources?: Pick<PodResources, 'groupKills'>;
  clock: Clock;
  log: Logger;
  /** A pod's containers changed other than by the executor's own word. */
  onChange(uid: string): void;
  /** One container of this pod gives no answer; the others are as well known as ever. */
  onUnreadable?(uid: string, containerId: string, error: unknown): void;
  /** Something happened that no event told of: the event stream is deaf. */
  onMissedEvent?(): void;
}

/** What the Engine runs for each pod: fed by the executor, by events, and by the relist, which is the truth. */
export interface RuntimeCache {
  /** Never undefined: a pod without containers has empty lists. */
  pod(uid: string, name?: string, namespace?: string): PodRuntimeStatus;
  uids(): string[];
  sandboxIds(): Set<string>;
  /** All ids of a pod's containers, without sandboxes. */
  recordSandbox(identity: ContainerIdentity, status: SandboxStatus): void;
  recordSandboxStarted(id: string, ips: string[]): void;
  recordContainer(identity: ContainerIdentity, status: ContainerRuntimeStatus): void;
  /** Its postStart hook is to run, or has: until then it is `isStarting`. */
  recordHook(id: string, runs: boolean): void;
  recordContainerStarted(id: string, startedAtMs: number, user?: ContainerRuntimeStatus['user']): void;
  /** Its process is gone, whatever the Engine says. */
  recordEnded(id: string, message: string): void;
  recordRemoved(id: string): void;
  /** Looks at one container again; for what the executor itself has just ended. */
  refresh(id: string, signal?: AbortSignal): Promise<void>;
  /** Throws only when the list itself gets no answer. `onListed` is told when it has. */
  relist(signal: AbortSignal, onListed?: () => void): Promise<void>;
  onEvent(event: ContainerEvent): void;
  lastRelistMonotonicMs(): number | undefined;
}

type Entry = ObservedContainer & {
  recordedMs: number;
  /** Made from a row of the list: to be inspected as soon as that works. */
  isPartial?: boolean;
};

/** A container only goes forward; whatever says otherwise is older news. */
const RANK: Record<SandboxStatus['state'], number> = { unknown: 0, created: 1, running: 2, exited: 3 };
const INSPECT_CONCURRENCY = 8;
/** What the list shows and no event has told after this time was missed. */
const EVENT_PATIENCE_MS = 5_000;

export function createRuntimeCache(deps: RuntimeCacheDependencies): RuntimeCache {
  const { docker, clock, log } = deps;
  const reader = createContainerReader(deps);
  const entries = new Map<string, Entry>();
  const idsOfPod = new Map<string, Set<string>>();
  /** Containers whose postStart hook has not ended. */
  const hooked = new Set<string>();
  /** Containers of whose start or end an event has told. */
  const heard = { start: new Set<string>(), end: new Set<string>() };
  /** Containers in which the kernel has ended a process for want of memory, by the Engine's events. */
  const starved = new Set<string>();
  /** Looks under way, by container: what is removed meanwhile must not come back by their answer. */
  const looks = new Map<string, Set<{ isGone: boolean }>>();
  let lastRelistMs: number | undefined;

  /** The Engine's word of an end may lack what its own event told of before or after. */
  function explainEnd(entry: Entry): Entry {
    if (entry.kind !== 'container' || entry.status.state !== 'exited' || !starved.has(entry.status.id)) return entry;
    return { ...entry, status: { ...entry.status, oomKilled: true, reason: 'OOMKilled' } };
  }

  function put(id: string, observed: ObservedContainer, isPartial = false): boolean {
    const known = entries.get(id);
    if (known && RANK[observed.status.state] < RANK[known.status.state]) return false;
    const entry = explainEnd({ ...observed, recordedMs: clock.monotonicMs(), isPartial } as Entry);
    if (known?.kind === 'sandbox' && entry.kind === 'sandbox' && known.status.ips.length > 0)
      entry.status = { ...entry.status, ips: known.status.ips };
    entries.set(id, entry);
    const ids = idsOfPod.get(entry.identity.podUid) ?? new Set();
    idsOfPod.set(entry.identity.podUid, ids.add(id));
    return known?.status.state !== entry.status.state || (known.isPartial === true && !isPartial);
  }

  function drop(id: string): string | undefined {
    for (const look of looks.get(id) ?? []) look.isGone = true;
    const entry = entries.get(id);
    if (!entry) return undefined;
    const uid = entry.identity.podUid;
    entries.delete(id);
    heard.start.delete(id);
    heard.end.delete(id);
    starved.delete(id);
    const ids = idsOfPod.get(uid);
    ids?.delete(id);
    if (ids?.size === 0) {
      idsOfPod.delete(uid);
      reader.forget(uid);
    }
    return uid;
  }

  /** Inspects and stores; returns the UID of the pod if that was news. */
  async function look(id: string, signal?: AbortSignal): Promise<string | undefined> {
    const own = { isGone: false };
    const ofContainer = looks.get(id) ?? new Set();
    looks.set(id, ofContainer.add(own));
    try {
      const observed = await reader.read(id, signal);
      return observed && !own.isGone && put(id, observed) ? observed.identity.podUid : undefined;
    } catch (error) {
      if (isDockerNotFound(error)) return drop(id);
      throw error;
    } finally {
      ofContainer.delete(own);
      if (ofContainer.size === 0) looks.delete(id);
    }
  }

  /** As `look`; a container that gives no answer stays what it was, or is what the list says: it is nobody else's trouble. */
  async function lookOrGuess(row: ContainerSummary, signal: AbortSignal): Promise<string | undefined> {
    try {
      return await look(row.id, signal);
    } catch (error) {
      signal.throwIfAborted();
      log.warn({ container: row.name, err: error }, 'container could not be inspected, the others are not affected');
      const guess = entries.has(row.id) ? undefined : reader.fromRow(row);
      const isNew = guess ? put(row.id, guess, true) : false;
      const uid = entries.get(row.id)?.identity.podUid;
      if (uid) deps.onUnreadable?.(uid, row.id, error);
      return isNew ? uid : undefined;
    }
  }

  /** For events: errors are only logged, the relist will see it. */
  function lookSoon(id: string): void {
    look(id)
      .then((uid) => uid && deps.onChange(uid))
      .catch((error) => {
        log.warn({ container: id.slice(0, 12), err: error }, 'container could not be inspected');
        const uid = entries.get(id)?.identity.podUid;
        if (uid) deps.onUnreadable?.(uid, id, error);
      });
  }

  /** What has just happened to the container must be told by an event soon; else the stream is deaf. */
  function expectEvent(id: string, what: keyof typeof heard): void {
    if (!deps.onMissedEvent || heard[what].has(id)) return;
    clock.after(EVENT_PATIENCE_MS, () => {
      if (entries.has(id) && !heard[what].has(id)) deps.onMissedEvent?.();
    });
  }

  return {
    pod(uid, name = '', namespace = '') {
      const own = [...(idsOfPod.get(uid) ?? [])].map((id) => entries.get(id)!);
      const sandboxes = own.flatMap((entry) => (entry.kind === 'sandbox' ? [entry.status] : []));
      const containers = own.flatMap((entry) => {
        if (entry.kind !== 'container') return [];
        return [hooked.has(entry.status.id) ? { ...entry.status, isStarting: true } : entry.status];
      });
      sandboxes.sort((a, b) => b.attempt - a.attempt);
      containers.sort((a, b) => b.restartCount - a.restartCount || b.createdAtMs - a.createdAtMs);
      const identity = own[0]?.identity;
      return {
        uid,
        name: identity?.podName ?? name,
        namespace: identity?.podNamespace ?? namespace,
        ips: sandboxes.find(({ state }) => state === 'running')?.ips ?? [],
        sandboxes,
        containers,
      };
    },
    uids: () => [...idsOfPod.keys()],
    sandboxIds: () => new Set([...entries].flatMap(([id, { kind }]) => (kind === 'sandbox' ? [id] : []))),

    recordSandbox(identity, status) {
      put(status.id, { kind: 'sandbox', identity, status });
    },
    recordSandboxStarted(id, ips) {
      const entry = entries.get(id);
      if (entry?.kind !== 'sandbox') return;
      const state = entry.status.state === 'exited' ? 'exited' : 'running';
      entries.set(id, { ...entry, status: { ...entry.status, ips, state } });
      expectEvent(id, 'start');
    },
    recordContainer(identity, status) {
      put(status.id, { kind: 'container', identity, status });
    },
    recordHook(id, runs) {
      if (runs) hooked.add(id);
      else hooked.delete(id);
    },
    recordContainerStarted(id, startedAtMs, user) {
      const entry = entries.get(id);
      if (entry?.kind !== 'container' || entry.status.state === 'exited') return;
      const status = {
        ...entry.status,
        state: 'running' as const,
        startedAtMs: entry.status.startedAtMs ?? startedAtMs,
        ...(user && { user }),
      };
      entries.set(id, { ...entry, status });
      expectEvent(id, 'start');
    },
    recordEnded(id, message) {
      const entry = entries.get(id);
      if (!entry || entry.status.state === 'exited') return;
      if (entry.kind === 'sandbox') entries.set(id, { ...entry, status: { ...entry.status, state: 'exited' } });
      else {
        // Upstream's words for an end that the runtime cannot tell.
        const ended = { state: 'exited', exitCode: 137, reason: 'ContainerStatusUnknown', message } as const;
        entries.set(id, { ...entry, status: { ...entry.status, ...ended, finishedAtMs: clock.nowMs() } });
      }
    },
    recordRemoved(id) {
      drop(id);
    },
    async refresh(id, signal) {
      await look(id, signal);
    },

    async relist(signal, onListed) {
      const beganMs = clock.monotonicMs();
      const rows = await deps.metrics.runtimeOperation('list_containers', () =>
        docker.listContainers({ labels: [`${LABEL.node}=${deps.nodeName}`] }, signal),
      );
      lastRelistMs = clock.monotonicMs();
      onListed?.();
      const changed = new Set<string>();
      const listed = new Set(rows.map(({ id }) => id));
      for (const [id, entry] of entries)
        if (!listed.has(id) && entry.recordedMs < beganMs) {
          drop(id);
          changed.add(entry.identity.podUid);
        }
      const news = rows.filter(({ id, state }) => {
        const known = entries.get(id);
        if (state === 'exited' && known?.status.state === 'running') expectEvent(id, 'end');
        return known?.status.state !== state || known.isPartial;
      });
      // A pool, not batches: a container that hangs takes up one of its places, and no more.
      const pool = Array.from({ length: INSPECT_CONCURRENCY }, async () => {
        for (let row = news.shift(); row; row = news.shift()) {
          const uid = await lookOrGuess(row, signal);
          if (uid) changed.add(uid);
        }
      });
      await Promise.all(pool);
      for (const uid of changed) deps.onChange(uid);
    },

    onEvent(event) {
      const entry = entries.get(event.id);
      if (entry && event.action === 'start') heard.start.add(event.id);
      if (entry && event.action === 'die') heard.end.add(event.id);
      if (event.action === 'destroy') {
        const uid = drop(event.id);
        if (uid) deps.onChange(uid);
      } else if (event.action === 'oom') {
        if (entry) starved.add(event.id);
        if (entry?.kind !== 'container' || entry.status.state !== 'exited' || entry.status.oomKilled) return;
        entries.set(event.id, explainEnd(entry));
        deps.onChange(entry.identity.podUid);
      } else if (event.action === 'die') {
        if (entry?.status.state !== 'exited') lookSoon(event.id);
      } else if (event.action === 'start') {
        if (!entry) lookSoon(event.id);
        else if (entry.kind === 'container' && entry.status.state !== 'exited') {
          const startedAtMs = Number(event.timeNano / 1_000_000n);
          entries.set(event.id, { ...entry, status: { ...entry.status, startedAtMs, state: 'running' } });
        }
      }
    },
    lastRelistMonotonicMs: () => lastRelistMs,
  };
}

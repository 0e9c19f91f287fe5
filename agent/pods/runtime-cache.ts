import type { ContainerDetail, ContainerEvent, DockerEngine } from '../../src/docker/engine.ts';
import { isDockerNotFound } from '../../src/docker/errors.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { type ContainerIdentity, LABEL, parseIdentity, SANDBOX_CONTAINER_NAME } from '../containers/identity.ts';
import { describeContainer, formatImageId } from '../containers/observe.ts';
import type { AgentMetrics, ContainerRuntimeStatus, PodNetwork, PodRuntimeStatus, SandboxStatus } from './ports.ts';

export interface RuntimeCacheDependencies {
  docker: DockerEngine;
  network: Pick<PodNetwork, 'ips'>;
  nodeName: string;
  metrics: Pick<AgentMetrics, 'runtimeOperation'>;
  clock: Clock;
  log: Logger;
  /** A pod's containers changed other than by the executor's own word. */
  onChange(uid: string): void;
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
  recordContainerStarted(id: string, startedAtMs: number): void;
  recordRemoved(id: string): void;
  /** Looks at one container again; for what the executor itself has just ended. */
  refresh(id: string, signal?: AbortSignal): Promise<void>;
  relist(signal: AbortSignal): Promise<void>;
  onEvent(event: ContainerEvent): void;
  lastRelistMonotonicMs(): number | undefined;
}

type Entry = { identity: ContainerIdentity; recordedMs: number } & (
  | { kind: 'sandbox'; status: SandboxStatus }
  | { kind: 'container'; status: ContainerRuntimeStatus }
);

/** A container only goes forward; whatever says otherwise is older news. */
const RANK: Record<SandboxStatus['state'], number> = { unknown: 0, created: 1, running: 2, exited: 3 };
const INSPECT_CONCURRENCY = 8;

export function createRuntimeCache(deps: RuntimeCacheDependencies): RuntimeCache {
  const { docker, clock, log } = deps;
  const entries = new Map<string, Entry>();
  const idsOfPod = new Map<string, Set<string>>();
  const imageIds = new Map<string, string>();
  let lastRelistMs: number | undefined;

  function put(id: string, entry: Omit<Entry, 'recordedMs'>): boolean {
    const known = entries.get(id);
    if (known && RANK[entry.status.state as SandboxStatus['state']] < RANK[known.status.state]) return false;
    entries.set(id, { ...entry, recordedMs: clock.monotonicMs() } as Entry);
    const ids = idsOfPod.get(entry.identity.podUid) ?? new Set();
    idsOfPod.set(entry.identity.podUid, ids.add(id));
    return known?.status.state !== entry.status.state;
  }

  function drop(id: string): string | undefined {
    const entry = entries.get(id);
    if (!entry) return undefined;
    const uid = entry.identity.podUid;
    entries.delete(id);
    const ids = idsOfPod.get(uid);
    ids?.delete(id);
    if (ids?.size === 0) idsOfPod.delete(uid);
    return uid;
  }

  async function imageIdOf(detail: ContainerDetail): Promise<string> {
    const known = imageIds.get(detail.imageId);
    if (known) return known;
    const digests = await docker.inspectImage(detail.imageId).then(
      (image) => image.repoDigests,
      () => [],
    );
    const formatted = formatImageId(detail.imageId, digests);
    imageIds.set(detail.imageId, formatted);
    return formatted;
  }

  /** Inspects and stores; returns the UID of the pod if that was news. */
  async function look(id: string, signal?: AbortSignal): Promise<string | undefined> {
    let detail: ContainerDetail;
    try {
      detail = await docker.inspectContainer(id, signal);
    } catch (error) {
      if (isDockerNotFound(error)) return drop(id);
      throw error;
    }
    const identity = parseIdentity(detail.name, detail.labels);
    if (!identity) return undefined;
    const isNew =
      identity.container === SANDBOX_CONTAINER_NAME
        ? put(id, { kind: 'sandbox', identity, status: sandboxStatus(identity, detail) })
        : put(id, {
            kind: 'container',
            identity,
            status: await describeContainer(docker, identity, detail, await imageIdOf(detail)),
          });
    return isNew ? identity.podUid : undefined;
  }

  function sandboxStatus(identity: ContainerIdentity, detail: ContainerDetail): SandboxStatus {
    const known = entries.get(detail.id);
    const ips =
      known?.kind === 'sandbox' && known.status.ips.length > 0 ? known.status.ips : deps.network.ips(detail.id);
    return {
      id: detail.id,
      attempt: identity.attempt,
      state: detail.state,
      createdAtMs: detail.createdAtMs,
      hostNetwork: detail.networkMode === 'host',
      ips: ips ?? [],
    };
  }

  /** For events: errors are only logged, the relist will see it. */
  function lookSoon(id: string): void {
    look(id)
      .then((uid) => uid && deps.onChange(uid))
      .catch((error) => log.warn({ container: id.slice(0, 12), err: error }, 'container could not be inspected'));
  }

  return {
    pod(uid, name = '', namespace = '') {
      const own = [...(idsOfPod.get(uid) ?? [])].map((id) => entries.get(id)!);
      const sandboxes = own.flatMap((entry) => (entry.kind === 'sandbox' ? [entry.status] : []));
      const containers = own.flatMap((entry) => (entry.kind === 'container' ? [entry.status] : []));
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
    },
    recordContainer(identity, status) {
      put(status.id, { kind: 'container', identity, status });
    },
    recordContainerStarted(id, startedAtMs) {
      const entry = entries.get(id);
      if (entry?.kind !== 'container' || entry.status.state === 'exited') return;
      const status = {
        ...entry.status,
        state: 'running' as const,
        startedAtMs: entry.status.startedAtMs ?? startedAtMs,
      };
      entries.set(id, { ...entry, status });
    },
    recordRemoved(id) {
      drop(id);
    },
    async refresh(id, signal) {
      await look(id, signal);
    },

    async relist(signal) {
      const beganMs = clock.monotonicMs();
      const rows = await deps.metrics.runtimeOperation('list_containers', () =>
        docker.listContainers({ labels: [`${LABEL.node}=${deps.nodeName}`] }, signal),
      );
      const changed = new Set<string>();
      const listed = new Set(rows.map(({ id }) => id));
      for (const [id, entry] of entries)
        if (!listed.has(id) && entry.recordedMs < beganMs) {
          drop(id);
          changed.add(entry.identity.podUid);
        }
      const news = rows.filter(({ id, state }) => entries.get(id)?.status.state !== state);
      for (let at = 0; at < news.length; at += INSPECT_CONCURRENCY) {
        const uids = await Promise.all(news.slice(at, at + INSPECT_CONCURRENCY).map(({ id }) => look(id, signal)));
        for (const uid of uids) if (uid) changed.add(uid);
      }
      lastRelistMs = clock.monotonicMs();
      for (const uid of changed) deps.onChange(uid);
    },

    onEvent(event) {
      const entry = entries.get(event.id);
      if (event.action === 'destroy') {
        const uid = drop(event.id);
        if (uid) deps.onChange(uid);
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

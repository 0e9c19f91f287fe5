import type { ContainerDetail, ContainerSummary, DockerEngine } from '../../src/docker/engine.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import { type ContainerIdentity, LABEL, parseIdentity, SANDBOX_CONTAINER_NAME } from '../containers/identity.ts';
import { describeContainer, formatImageId } from '../containers/observe.ts';
import { createOomLedger } from './oom-ledger.ts';
import type { ContainerRuntimeStatus, PodNetwork, SandboxStatus } from './ports.ts';
import type { PodResources } from './resource-ports.ts';

export type ObservedContainer = { identity: ContainerIdentity } & (
  | { kind: 'sandbox'; status: SandboxStatus }
  | { kind: 'container'; status: ContainerRuntimeStatus }
);

export interface ContainerReader {
  /** Inspects. undefined: not one of ours. Throws a DockerError, `notFound` when it is gone. */
  read(id: string, signal?: AbortSignal): Promise<ObservedContainer | undefined>;
  /**
   * What the row of the list tells of a container that cannot be inspected now. One that has ended is `unknown`: without its
   * exit code nobody can say what shall follow, and nothing of its pod may be started as if it had never been.
   */
  fromRow(row: ContainerSummary): ObservedContainer | undefined;
  /** Nothing of the pod is left. */
  forget(uid: string): void;
}

const SIGKILLED = 137;
/** Ends older than this are as they are. */
const OOM_PATIENCE_MS = 2_000;
const OOM_LOOKS = 3;
const OOM_LOOK_MS = 100;

/** Turns the Engine's words about our containers into statuses. */
export function createContainerReader(deps: {
  docker: DockerEngine;
  network: Pick<PodNetwork, 'ips'>;
  clock: Clock;
  resources?: Pick<PodResources, 'groupKills'>;
}): ContainerReader {
  const { docker, network, clock } = deps;
  // What cannot be counted must not keep a container from being known.
  const groupKills = async (uid: string) => deps.resources?.groupKills(uid).catch(() => undefined);
  const ledger = createOomLedger(groupKills, clock.nowMs());
  const imageIds = new Map<string, string>();

  /** The Engine hears of a container's end and of the kernel's out-of-memory killer on two ways, and may take the end first. */
  async function inspectWithCause(id: string, signal?: AbortSignal): Promise<ContainerDetail> {
    let detail = await docker.inspectContainer(id, signal);
    const uid = detail.labels[LABEL.podUid];
    if (uid !== undefined) {
      await ledger.meet(uid, detail.createdAtMs);
      if (detail.state === 'exited' && (detail.oomKilled || detail.exitCode === SIGKILLED)) {
        const isCause = await ledger.isCause(uid, id, detail.oomKilled);
        if (isCause !== undefined) return { ...detail, oomKilled: detail.oomKilled || isCause };
      }
    }
    for (let tries = 0; tries < OOM_LOOKS && mayBeOutOfMemory(detail); tries++) {
      await clock.sleep(OOM_LOOK_MS, signal);
      detail = await docker.inspectContainer(id, signal);
    }
    return detail;
  }

  function mayBeOutOfMemory({ state, exitCode, oomKilled, memoryBytes, finishedAtMs = 0 }: ContainerDetail): boolean {
    if (state !== 'exited' || exitCode !== SIGKILLED || oomKilled || memoryBytes === 0) return false;
    return clock.nowMs() - finishedAtMs < OOM_PATIENCE_MS;
  }

  async function imageIdOf(detail: ContainerDetail): Promise<string> {
    const image = detail.labels[LABEL.image] ?? detail.image;
    const key = `${detail.imageId} ${image}`;
    const known = imageIds.get(key);
    if (known) return known;
    const digests = await docker.inspectImage(detail.imageId).then(
      (found) => found.repoDigests,
      () => undefined,
    );
    const formatted = formatImageId(detail.imageId, digests ?? [], image);
    if (digests) imageIds.set(key, formatted);
    return formatted;
  }

  function sandboxStatus(
    { attempt }: ContainerIdentity,
    { id, state, createdAtMs, networkMode }: ContainerSummary | ContainerDetail,
  ): SandboxStatus {
    return { id, attempt, state, createdAtMs, hostNetwork: networkMode === 'host', ips: network.ips(id) ?? [] };
  }

  return {
    async read(id, signal) {
      const detail = await inspectWithCause(id, signal);
      const identity = parseIdentity(detail.name, detail.labels);
      if (!identity) return undefined;
      if (identity.container === SANDBOX_CONTAINER_NAME)
        return { kind: 'sandbox', identity, status: sandboxStatus(identity, detail) };
      const imageId = await imageIdOf(detail);
      return { kind: 'container', identity, status: await describeContainer(docker, identity, detail, imageId) };
    },
    forget: (uid) => ledger.forget(uid),
    fromRow(row) {
      const identity = parseIdentity(row.name, row.labels);
      if (!identity) return undefined;
      if (identity.container === SANDBOX_CONTAINER_NAME)
        return { kind: 'sandbox', identity, status: sandboxStatus(identity, row) };
      return {
        kind: 'container',
        identity,
        status: {
          id: row.id,
          name: identity.container,
          state: row.state === 'exited' ? 'unknown' : row.state,
          createdAtMs: row.createdAtMs,
          oomKilled: false,
          image: row.labels[LABEL.image] ?? row.image,
          imageId: formatImageId(row.imageId, []),
          restartCount: identity.attempt,
          hash: row.labels[LABEL.hash] ?? '',
          sandboxId: row.labels[LABEL.sandboxId] ?? '',
          logPath: row.labels[LABEL.logPath],
        },
      };
    },
  };
}

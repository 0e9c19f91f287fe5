import type { ContainerSummary, DockerEngine } from '../../../src/docker/engine.ts';
import { DockerError } from '../../../src/docker/errors.ts';
import type { Clock } from '../../../src/runtime/clock.ts';
import type { Logger } from '../../../src/runtime/log.ts';
import { LABEL } from '../../containers/identity.ts';

export interface CpusetKeeperOptions {
  nodeName: string;
  /** `cpuManagerReconcilePeriod`. */
  periodMs: number;
}

export interface CpusetKeeperDependencies {
  docker: DockerEngine;
  /** The CPUs that a container is to run on now, as the kernel writes lists. */
  wanted(uid: string, container: string): string;
  clock: Clock;
  log: Logger;
}

export interface CpusetKeeper {
  /** The Engine for whoever makes and starts containers: none starts on CPUs that became somebody's own since it was made. */
  readonly docker: DockerEngine;
  /** Resolves when all containers that exist have been told where to run. What cannot be told is logged and tried again. */
  sync(): Promise<void>;
  /** Looks again every period: what others changed, what failed. */
  run(signal: AbortSignal): Promise<void>;
}

/** The Engine runs a process for each. */
const UPDATES_AT_ONCE = 4;
/** A container that hangs must not keep every pod from coming in. */
const PATIENCE_MS = 10_000;

/**
 * Keeps the cpusets of running containers as the CPU manager wants them, through the Engine: it writes the files of either cgroup version and would
 * else bring its own idea back with the next restart.
 *
 * Nobody shares an exclusive CPU, not even for a moment: its container is made after `sync`, which moves all that exist (the Engine orders an update
 * behind a start of the same container); one that was only being made then is moved before it starts.
 */
export function createCpusetKeeper(options: CpusetKeeperOptions, deps: CpusetKeeperDependencies): CpusetKeeper {
  const { docker, clock, log } = deps;
  const labels = [`${LABEL.node}=${options.nodeName}`, `${LABEL.dockerType}=container`];
  /** What the Engine was told, by container id. */
  const told = new Map<string, string>();
  const owners = new Map<string, { uid: string; name: string }>();

  async function withPatience<T>(call: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const end = new AbortController();
    const cancel = clock.after(PATIENCE_MS, () =>
      end.abort(new Error(`the Engine has not answered for ${PATIENCE_MS / 1000} s`)),
    );
    try {
      return await call(end.signal);
    } finally {
      cancel();
    }
  }

  /** Cheap when nothing has changed: no call. */
  async function move(id: string, uid: string, name: string): Promise<void> {
    const cpus = deps.wanted(uid, name);
    if (told.get(id) === cpus) return;
    await withPatience((signal) => docker.updateContainer(id, { CpusetCpus: cpus }, signal));
    told.set(id, cpus);
    // It may have changed while the Engine was at work.
    await move(id, uid, name);
  }

  async function moveListed({ id, labels: own, state }: ContainerSummary): Promise<void> {
    const [uid, name] = [own[LABEL.podUid], own[LABEL.containerName]];
    if (state === 'exited' || uid === undefined || name === undefined) return;
    try {
      await move(id, uid, name);
    } catch (error) {
      if (error instanceof DockerError && error.kind === 'notFound') return;
      log.warn({ container: name, uid, err: error }, "a container's CPUs could not be changed; it is tried again");
    }
  }

  async function syncOnce(): Promise<void> {
    try {
      const containers = await withPatience((signal) => docker.listContainers({ labels }, signal));
      const ids = new Set(containers.map(({ id }) => id));
      for (const id of told.keys()) if (!ids.has(id) && !owners.has(id)) told.delete(id);
      const rest = containers.values();
      const moveRest = async () => {
        for (const one of rest) await moveListed(one);
      };
      await Promise.all(Array.from({ length: UPDATES_AT_ONCE }, moveRest));
    } catch (error) {
      log.warn({ err: error }, "containers' CPUs could not be looked at; it is tried again");
    }
  }

  let last: Promise<void> = Promise.resolve();
  let next: Promise<void> | undefined;
  /** One at a time; a call during one waits for the one after it, which sees what has changed. */
  function sync(): Promise<void> {
    next ??= last.then(() => {
      next = undefined;
      return syncOnce();
    });
    last = next;
    return next;
  }

  return {
    docker: {
      ...docker,
      async createContainer(name, config, signal) {
        const made = await docker.createContainer(name, config, signal);
        const own = config.Labels ?? {};
        if (own[LABEL.dockerType] === 'container') {
          told.set(made.id, config.HostConfig?.CpusetCpus ?? '');
          owners.set(made.id, { uid: own[LABEL.podUid] ?? '', name: own[LABEL.containerName] ?? '' });
        }
        return made;
      },
      async startContainer(id, signal) {
        const owner = owners.get(id);
        if (owner) await move(id, owner.uid, owner.name);
        await docker.startContainer(id, signal);
        owners.delete(id);
      },
      async removeContainer(id, removal, signal) {
        await docker.removeContainer(id, removal, signal);
        told.delete(id);
        owners.delete(id);
      },
    },
    sync,
    async run(signal) {
      while (!signal.aborted) {
        await sync();
        await clock.sleep(options.periodMs, signal).catch(() => undefined);
      }
    },
  };
}

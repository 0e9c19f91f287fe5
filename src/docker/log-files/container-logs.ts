import type { Clock } from '../../runtime/clock.ts';
import type { Logger } from '../../runtime/log.ts';
import type { DockerEngine } from '../engine.ts';
import { isDockerNotFound } from '../errors.ts';
import { readLogFiles } from './read.ts';

export interface ContainerLogsDependencies {
  docker: Pick<DockerEngine, 'containerLogs' | 'inspectContainer' | 'waitContainer'>;
  clock: Clock;
  log: Logger;
}

const WAIT_AGAIN_MS = 1_000;

/**
 * A container's log from the files that the Engine writes, where they are on this machine and of its json-file driver; from the Engine
 * else. The Engine's own `follow` loses lines, and shows some twice, when a log is rotated while it is read; and it ends with the Engine,
 * which the container may outlive.
 */
export function createContainerLogs(deps: ContainerLogsDependencies): DockerEngine['containerLogs'] {
  const { docker, clock, log } = deps;

  /** Returns when it runs no more; then all that it has written is in its log. */
  async function waitForEnd(id: string, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await docker.waitContainer(id, signal);
        return;
      } catch (error) {
        if (signal.aborted || isDockerNotFound(error)) return;
        await clock.sleep(WAIT_AGAIN_MS, signal).catch(() => {});
      }
    }
  }

  return async function* containerLogs(id, options, signal) {
    const { logPath, name } = await docker.inspectContainer(id, signal);
    if (!logPath.endsWith('-json.log')) return yield* docker.containerLogs(id, options, signal);
    const done = new AbortController();
    const ended = options.follow
      ? waitForEnd(id, AbortSignal.any([done.signal, ...(signal ? [signal] : [])]))
      : undefined;
    const onLost = (why: string) => log.warn({ container: name }, `lines of a log that is followed are lost: ${why}`);
    try {
      yield* readLogFiles(logPath, options, { clock, ended: ended ?? Promise.resolve(), onLost }, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      // Never written to, or on another machine.
      yield* docker.containerLogs(id, options, signal);
    } finally {
      done.abort();
    }
  };
}

import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { runAll } from '../../src/runtime/run-all.ts';
import type { ContainerEnds } from '../containers/ends.ts';
import { buildOrphanPod } from '../pods/orphans.ts';
import type { RuntimeCache } from '../pods/runtime-cache.ts';
import type { PodWork } from '../pods/work.ts';
import type { Sandboxes } from '../sandbox/sandbox.ts';
import type { PodDirectories } from '../volumes/pod-directories.ts';
import {
  type ContainerGcPolicy,
  type PodRemains,
  selectDeadContainers,
  selectDeadSandboxes,
} from './container-plan.ts';
import { removeOldTerminationFiles } from './termination-files.ts';

export interface ContainerCollectorDependencies {
  runtime: Pick<RuntimeCache, 'uids' | 'pod' | 'recordRemoved'>;
  work(uid: string): PodWork | undefined;
  ends: Pick<ContainerEnds, 'remove'>;
  sandboxes: Pick<Sandboxes, 'remove'>;
  directories: Pick<PodDirectories, 'container'>;
  clock: Clock;
  log: Logger;
}

export interface ContainerCollector {
  /**
   * Removes the ended containers and sandboxes that the policy does not keep; `all`: also those of pods that are over. Pods that no source
   * has are not touched: their workers remove everything of them. Tries everything; throws an AggregateError of what failed.
   */
  collect(signal: AbortSignal, all?: boolean): Promise<void>;
}

export function createContainerCollector(
  policy: ContainerGcPolicy,
  deps: ContainerCollectorDependencies,
): ContainerCollector {
  const { runtime, clock, log } = deps;
  /** By container id; only of those that are there. */
  let endedSinceMs = new Map<string, number>();

  function look(): PodRemains[] {
    const nowMs = clock.monotonicMs();
    const seen = new Map<string, number>();
    const pods = runtime.uids().flatMap((uid) => {
      const work = deps.work(uid);
      if (!work || work.isGone) return [];
      const observed = runtime.pod(uid);
      for (const { id, state } of observed.containers)
        if (state === 'exited') seen.set(id, endedSinceMs.get(id) ?? nowMs);
      const isOver = work.state === 'terminated' || work.state === 'finished';
      return [{ runtime: observed, isOver, endedSinceMs: (id: string) => seen.get(id) ?? nowMs }];
    });
    endedSinceMs = seen;
    return pods;
  }

  return {
    async collect(signal, all = false) {
      const pods = look();
      const containers = selectDeadContainers(pods, policy, clock.monotonicMs(), all);
      const removals = containers.map(({ container }) => async () => {
        signal.throwIfAborted();
        await deps.ends.remove(container.id, signal);
      });
      const failed = await runAll('removing ended containers', removals).catch((error) => error);
      signal.throwIfAborted();
      // After the containers: an old sandbox goes with the last that it held.
      const sandboxes = selectDeadSandboxes(look());
      const others = sandboxes.map(({ runtime: pod, sandbox }) => async () => {
        signal.throwIfAborted();
        await deps.sandboxes.remove(deps.work(pod.uid)?.pod ?? buildOrphanPod(pod), sandbox, signal);
        runtime.recordRemoved(sandbox.id);
      });
      if (containers.length + sandboxes.length > 0)
        log.info({ containers: containers.length, sandboxes: sandboxes.length }, 'removing what has ended');
      const names = look().flatMap(({ runtime: { uid, containers: runs } }) =>
        [...new Set(runs.map(({ name }) => name))].map((name) => deps.directories.container(uid, name)),
      );
      await runAll('garbage collection of containers', [
        ...others,
        ...names.map((directory) => () => removeOldTerminationFiles(directory)),
        () => {
          if (failed) throw failed;
        },
      ]);
    },
  };
}

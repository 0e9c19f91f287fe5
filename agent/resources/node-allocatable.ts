import type { Cgroups } from '../../src/linux/cgroup/cgroups.ts';
import type { SystemdSlices } from '../../src/linux/cgroup/systemd.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import type { NodePodResources } from './pod-resources.ts';
import type { ReservedCgroup } from './reserved-cgroups.ts';

/** As often as upstream writes the limits of the QoS classes again, and tries again what the kernel has refused. */
const REFRESH_MS = 60_000;

export interface NodeAllocatableDeps {
  resources: Pick<NodePodResources, 'enforceNode'>;
  cgroups: Pick<Cgroups, 'update'>;
  slices?: SystemdSlices;
  /** An event about the node. */
  event(type: 'Normal' | 'Warning', reason: string, message: string): void;
  clock: Clock;
  log: Logger;
}

/** Keeps the limits of all pods together, of the QoS classes and of what is reserved for others. */
export function createNodeAllocatable(reserved: readonly ReservedCgroup[], deps: NodeAllocatableDeps) {
  const { resources, cgroups, slices, event, clock, log } = deps;

  async function limit({ kind, name, path, limits }: ReservedCgroup): Promise<void> {
    const title = kind === 'system' ? 'System' : 'Kube';
    try {
      const slice = path.split('/').at(-1)!;
      if (slices && slice.endsWith('.slice')) await slices.ensure(slice, limits);
      if (!(await cgroups.update(path, limits))) throw new Error('it is gone');
    } catch (error) {
      const message = `Failed to enforce ${title} Reserved Cgroup Limits on ${JSON.stringify(name)}: ${(error as Error).message}`;
      event('Warning', 'FailedNodeAllocatableEnforcement', message);
      throw new Error(message, { cause: error });
    }
    event('Normal', 'NodeAllocatableEnforced', `Updated limits on ${kind} reserved cgroup ${name}`);
  }

  return {
    /** Limits the reserved cgroups, once. Throws, so that a node that cannot keep its promise does not start. */
    async start(): Promise<void> {
      for (const cgroup of reserved) await limit(cgroup);
    },
    async run(signal: AbortSignal): Promise<void> {
      let isEnforced: boolean | undefined;
      while (!signal.aborted) {
        try {
          await resources.enforceNode();
          if (!isEnforced) event('Normal', 'NodeAllocatableEnforced', 'Updated Node Allocatable limit across pods');
          isEnforced = true;
        } catch (error) {
          isEnforced = false;
          log.warn({ err: error }, 'limits across pods do not hold');
          const message = `Failed to update Node Allocatable Limits ["kubepods"]: ${(error as Error).message}`;
          event('Warning', 'FailedNodeAllocatableEnforcement', message);
        }
        await clock.sleep(REFRESH_MS, signal).catch(() => {});
      }
    },
  };
}

import type { IpFamily } from '../src/netfilter/tables.ts';
import type { Logger } from '../src/runtime/log.ts';
import { runAll } from '../src/runtime/run-all.ts';
import type { ModeName, ProxyMode } from './mode.ts';

/** Takes away what other modes left behind, once. */
export interface Leftovers {
  /**
   * To be called after a sync of the family: the new rules carry the traffic before the old ones go, so that switching modes cuts
   * nobody off. A failure is logged, and the next call tries again.
   */
  remove(family: IpFamily): Promise<void>;
}

export function createLeftovers(
  current: ModeName,
  modes: Partial<Record<ModeName, ProxyMode>>,
  log: Logger,
): Leftovers {
  const pending = new Map<IpFamily, Set<ProxyMode>>();
  return {
    async remove(family) {
      const left = pending.get(family) ?? new Set(Object.values(modes).filter(({ name }) => name !== current));
      pending.set(family, left);
      for (const mode of left)
        try {
          await cleanUp(mode, family, current);
          left.delete(mode);
        } catch (error) {
          log.warn({ err: error, mode: mode.name, family }, 'what another mode left behind could not be removed');
        }
    },
  };
}

/** Removes everything of every mode. @throws AggregateError in the end, when something could not be removed. */
export async function removeAllModes(
  modes: Partial<Record<ModeName, ProxyMode>>,
  families: readonly IpFamily[],
): Promise<void> {
  await runAll(
    'remove the rules of the proxy',
    Object.values(modes).flatMap((mode) => families.map((family) => () => cleanUp(mode, family))),
  );
}

/** A host that cannot run a mode (no such program, no such kernel) cannot hold anything of it. */
async function cleanUp(mode: ProxyMode, family: IpFamily, successor?: ModeName): Promise<void> {
  try {
    await mode.cleanup(family, successor);
  } catch (error) {
    if ((await mode.usable(family)) === undefined) throw error;
  }
}

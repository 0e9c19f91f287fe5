import { join } from 'node:path';
import { type Allocations, loadAllocations } from '../../agent/resources/allocation/allocations.ts';
import type { ProgramContext } from './context.ts';

/** What an earlier life of the agent has set aside for its pods, in upstream's files. Throws when one of them is corrupt. */
export function openAllocations(rootDir: string, { clock, log }: ProgramContext): Promise<Allocations> {
  const path = (name: string) => join(rootDir, name);
  return loadAllocations(
    { allocated: path('allocated_pods_state'), actuated: path('actuated_pods_state') },
    {
      nowMs: () => clock.nowMs(),
      onError: (error) => log.warn({ err: error }, "the pods' allocations could not be written, will be with the next"),
    },
  );
}

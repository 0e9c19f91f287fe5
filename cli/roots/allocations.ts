import { join } from 'node:path';
import { type Allocations, loadAllocations } from '../../agent/resources/allocation/allocations.ts';
import { openCheckpointFile } from '../../agent/resources/allocation/checkpoint-file.ts';
import type { Logger } from '../../src/runtime/log.ts';

/** What an earlier life of the agent has set aside for its pods, in upstream's files. Throws when one of them is corrupt. */
export function openAllocations(rootDir: string, log: Logger): Promise<Allocations> {
  return loadAllocations({
    allocated: openCheckpointFile(join(rootDir, 'allocated_pods_state')),
    actuated: openCheckpointFile(join(rootDir, 'actuated_pods_state')),
    onError: (error) => log.warn({ err: error }, "the pods' allocations could not be written, will be with the next"),
  });
}

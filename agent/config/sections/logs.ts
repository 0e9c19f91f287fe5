import { byteQuantity, type ConfigOf, duration, integer } from '../../../src/config/field.ts';
import type { Refuse } from '../../../src/config/load.ts';

const SECOND_MS = 1000;
const MIB = 1024 * 1024;

/** Containers' logs. */
export const logsFields = {
  /** Negative: no rotation. */
  containerLogMaxSize: byteQuantity(10 * MIB),
  containerLogMaxFiles: integer(5, { min: 2 }),
  // These two speak of the kubelet's looks at the sizes of logs. The Engine knows them while it writes and rotates at once: it needs neither.
  containerLogMaxWorkers: integer(1, { min: 1 }),
  containerLogMonitorInterval: duration(10 * SECOND_MS, { minMs: 3 * SECOND_MS }),
};

export function validateLogs(config: ConfigOf<typeof logsFields>, refuse: Refuse): void {
  if (config.containerLogMaxSizeBytes === 0)
    refuse('containerLogMaxSize', 0, 'a quantity of bytes above 0, such as "10Mi", or a negative one for no rotation');
}

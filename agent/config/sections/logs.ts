import { byteQuantity, deferred, duration, integer } from '../../../src/config/field.ts';

const SECOND_MS = 1000;
const MIB = 1024 * 1024;

/** Containers' logs. */
export const logsFields = {
  containerLogMaxSize: byteQuantity(10 * MIB),
  containerLogMaxFiles: integer(5, { min: 2 }),
  containerLogMaxWorkers: deferred(integer(1, { min: 1 })),
  containerLogMonitorInterval: deferred(duration(10 * SECOND_MS)),
};

import { anything, choice, deferred, duration, map, text, unsupported } from '../../../src/config/field.ts';

const SECOND_MS = 1000;

/** Exclusive CPUs, NUMA memory, topology. */
export const managersFields = {
  reservedSystemCPUs: unsupported(text()),
  reservedMemory: unsupported(anything()),
  cpuManagerPolicy: unsupported(choice('none', ['none', 'static'])),
  cpuManagerPolicyOptions: unsupported(map()),
  cpuManagerReconcilePeriod: deferred(duration(10 * SECOND_MS)),
  memoryManagerPolicy: unsupported(choice('None', ['None', 'Static'])),
  topologyManagerPolicy: unsupported(choice('none', ['none', 'best-effort', 'restricted', 'single-numa-node'])),
  topologyManagerScope: unsupported(choice('container', ['container', 'pod'])),
  topologyManagerPolicyOptions: unsupported(map()),
};

import type { Logger } from '../../src/runtime/log.ts';

/** Gates of the kubelet that switch something here. */
const KNOWN: readonly string[] = ['GracefulNodeShutdown', 'MemoryQoS', 'QOSReserved'];

/** Says which feature gates do nothing here: what they stand for is either always on or not there. */
export function warnOfGates(gates: Readonly<Record<string, boolean>>, log: Logger): void {
  const idle = Object.keys(gates).filter((name) => !KNOWN.includes(name));
  if (idle.length > 0) log.warn({ gates: idle }, `feature gates without an effect here: ${idle.join(', ')}`);
}

import type { Clock } from '../../../src/runtime/clock.ts';
import type { Logger } from '../../../src/runtime/log.ts';
import { clientIdOf, createLeaseFiles, type LeaseKey } from './lease-files.ts';
import { createDhcpLeases, DEFAULT_PATIENCE, type DhcpLeases } from './leases.ts';

const DEFAULT_STATE_DIR = '/run/cni/dhcp-berth';
/** Less than the daemon's: the agent tries again by itself, and a pod that is deleted meanwhile waits for this. */
const PATIENCE = { ...DEFAULT_PATIENCE, resendTimeoutMs: 45_000 };

/**
 * Which leases such a process keeps itself, by its files.
 * @param hostPrefix stands before paths of the host
 */
export function keptByProcess(hostPrefix: string): (key: LeaseKey) => boolean {
  const records = createLeaseFiles(hostPrefix + DEFAULT_STATE_DIR).list(() => {});
  const ids = new Set(records.map(({ key }) => clientIdOf(key)));
  return (key) => ids.has(clientIdOf(key));
}

/** The leases that a process which runs pods keeps itself where no daemon does; it goes on with those of the process before it. */
export function openProcessLeases(
  { stateDir = DEFAULT_STATE_DIR }: { stateDir?: string },
  deps: { clock: Clock; log: Logger },
): DhcpLeases {
  const leases = createDhcpLeases({ ...PATIENCE, stateDir, broadcast: false }, deps);
  leases.restore();
  return leases;
}

import type { Clock } from '../../../src/runtime/clock.ts';
import type { Logger } from '../../../src/runtime/log.ts';
import { createDhcpLeases, DEFAULT_PATIENCE, type DhcpLeases } from './leases.ts';

const DEFAULT_STATE_DIR = '/run/cni/dhcp-berth';
/** Less than the daemon's: the agent tries again by itself, and a pod that is deleted meanwhile waits for this. */
const PATIENCE = { ...DEFAULT_PATIENCE, resendTimeoutMs: 45_000 };

/** The leases that a process which runs pods keeps itself where no daemon does; it goes on with those of the process before it. */
export function openProcessLeases(
  { stateDir = DEFAULT_STATE_DIR }: { stateDir?: string },
  deps: { clock: Clock; log: Logger },
): DhcpLeases {
  const leases = createDhcpLeases({ ...PATIENCE, stateDir, broadcast: false }, deps);
  leases.restore();
  return leases;
}

import type { Run } from '../../src/netfilter/iptables.ts';
import type { DhcpLeases } from '../ipam/dhcp/leases.ts';

/** What our plugins need of the process that they run in. */
export interface PluginDependencies {
  sleep(ms: number): Promise<void>;
  /** For programs: plugins of others, iptables, nft. */
  run: Run;
  /** Path of the host's network namespace when it is not the process's own. */
  hostNetns?: string;
  /** The system bus's address when it is not at its usual place. */
  systemBus?: string;
  /** Of a process that lives long: released addresses rest for a while. */
  monotonicMs?(): number;
  /** Of a process that lives as long as containers do: it keeps their DHCP leases where no daemon listens. */
  dhcpLeases?: DhcpLeases;
}

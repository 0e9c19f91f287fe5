import type { Run } from '../../src/netfilter/iptables.ts';

/** What our plugins need of the process that they run in. */
export interface PluginDependencies {
  sleep(ms: number): Promise<void>;
  /** For programs: plugins of others, iptables, nft. */
  run: Run;
  /** Path of the host's network namespace when it is not the process's own. */
  hostNetns?: string;
}

import type { KubeProxyConfiguration } from './config/kube-proxy-configuration.ts';
import type { ModeName } from './mode.ts';

export interface SyncPeriods {
  minSyncPeriodMs: number;
  /** Delay after a failed sync, and the interval of the look for flushed rules. */
  syncPeriodMs: number;
  /** A sync happens at least this often. */
  maxIntervalMs: number;
}

const HOUR_MS = 3_600_000;

/** IPVS has nobody to tell it of tampering and so looks again every sync period; the others do once an hour (kube-proxy's timing). */
export function syncPeriodsOf(config: KubeProxyConfiguration, mode: ModeName): SyncPeriods {
  const { minSyncPeriodMs, syncPeriodMs } = config[mode === 'userspace' ? 'iptables' : mode];
  return { minSyncPeriodMs, syncPeriodMs, maxIntervalMs: mode === 'ipvs' ? syncPeriodMs : HOUR_MS };
}

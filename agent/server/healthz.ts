import type { HealthMetrics } from '../../src/runtime/health-metrics.ts';
import type { Heartbeats } from '../../src/runtime/heartbeat.ts';

export interface HealthReport {
  healthy: boolean;
  /** `ok`, or the list of checks with those that failed. */
  text: string;
}

/** Every long loop must have turned lately. `verbose` lists the checks though all are well. */
export function reportHealth(
  { heartbeats, slis }: { heartbeats: Pick<Heartbeats, 'overdue'>; slis: HealthMetrics },
  verbose = false,
): HealthReport {
  const overdue = heartbeats.overdue();
  for (const name of ['ping', 'log']) slis.checked(name, 'healthz', true);
  slis.checked('syncloop', 'healthz', overdue.length === 0);
  if (overdue.length === 0 && !verbose) return { healthy: true, text: 'ok' };
  const lines = ['[+]ping ok', '[+]log ok'];
  for (const { name, silentMs, maxSilenceMs } of overdue)
    lines.push(
      `[-]${name} failed: silent for ${Math.round(silentMs / 1000)} s, promised ${Math.round(maxSilenceMs / 1000)} s`,
    );
  if (overdue.length === 0) lines.push('[+]syncloop ok');
  lines.push(overdue.length === 0 ? 'healthz check passed' : 'healthz check failed', '');
  return { healthy: overdue.length === 0, text: lines.join('\n') };
}

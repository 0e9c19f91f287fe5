import { Counter, Gauge, Registry } from 'prom-client';

export type HealthEndpoint = 'healthz' | 'livez' | 'readyz';

/** What /metrics/slis shows: how the health checks went whenever somebody asked for them. */
export interface HealthMetrics {
  readonly registry: Registry;
  checked(name: string, endpoint: HealthEndpoint, isHealthy: boolean): void;
}

/** Kubernetes' health check series, in a registry of their own as they have a path of their own. */
export function createHealthMetrics(): HealthMetrics {
  const registry = new Registry();
  const last = new Gauge({
    name: 'kubernetes_healthcheck',
    help: 'This metric records the result of a single healthcheck.',
    labelNames: ['name', 'type'],
    registers: [registry],
  });
  const total = new Counter({
    name: 'kubernetes_healthchecks_total',
    help: 'This metric records the results of all healthcheck.',
    labelNames: ['name', 'type', 'status'],
    registers: [registry],
  });
  return {
    registry,
    checked(name, type, isHealthy) {
      last.set({ name, type }, isHealthy ? 1 : 0);
      total.inc({ name, type, status: isHealthy ? 'success' : 'error' });
    },
  };
}

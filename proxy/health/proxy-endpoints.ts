import type { Router } from 'express';
import { renderConfig } from '../../src/config/render.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import type { Registry } from '../../src/runtime/metrics.ts';
import { type KubeProxyConfiguration, kubeProxyConfiguration } from '../config/kube-proxy-configuration.ts';
import type { ProxyMetrics } from '../metrics.ts';
import type { ModeName } from '../mode.ts';
import { createHealthzApp } from './healthz-server.ts';
import { createMetricsApp, type ProgramFacts } from './metrics-server.ts';
import type { ProxyHealth } from './proxy-health.ts';
import { createHttpEndpoints, type HttpEndpoints } from './servers.ts';

interface ProxyEndpointsDependencies {
  health: ProxyHealth;
  overdueLoops(): readonly { name: string }[];
  metrics: ProxyMetrics;
  registry: Registry;
  clock: Clock;
  log: Logger;
  warn(about: 'node', reason: string, message: string): void;
  debug?: Router;
}

/** What the proxy answers by HTTP: health on one port, metrics and its own state on another. */
export function createProxyEndpoints(
  options: {
    bind: { healthz: string; metrics: string };
    config: KubeProxyConfiguration;
    mode: ModeName;
    program?: ProgramFacts;
  },
  deps: ProxyEndpointsDependencies,
): HttpEndpoints {
  const { bind, config, mode } = options;
  const { health, overdueLoops, metrics, registry, clock, log } = deps;
  return createHttpEndpoints(
    [
      {
        name: 'healthz',
        address: bind.healthz,
        field: 'healthzBindAddress',
        failureReason: 'FailedToStartProxierHealthcheck',
        handler: createHealthzApp({ ...metrics, state: health.state, overdueLoops }),
      },
      {
        name: 'metrics',
        address: bind.metrics,
        field: 'metricsBindAddress',
        failureReason: 'FailedToStartMetricServer',
        handler: createMetricsApp({
          metrics: registry,
          mode,
          config: renderConfig(kubeProxyConfiguration.fields, config),
          program: options.program ?? { version: '', flags: {} },
          enableProfiling: config.enableProfiling,
          clock,
          debug: deps.debug,
        }),
      },
    ],
    {
      hardFail: config.bindAddressHardFail,
      clock,
      log,
      warn: (reason, message) => deps.warn('node', reason, message),
    },
  );
}

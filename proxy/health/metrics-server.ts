import express, { type Express, type Router } from 'express';
import { serveProfiles } from '../../src/diagnostics/profiles.ts';
import { serveZPages } from '../../src/diagnostics/z-pages.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import { createHealthMetrics } from '../../src/runtime/health-metrics.ts';
import type { Registry } from '../../src/runtime/metrics.ts';

export interface ProgramFacts {
  /** `v1.36.0` */
  version: string;
  /** The command line's flags with their values; none of them holds a secret. */
  flags: Readonly<Record<string, string>>;
}

const SHOWN_PATHS = ['configz', 'healthz', 'metrics', 'metrics/slis', 'proxyMode', 'statusz', 'flagz'];

/** Port 10249, loopback: metrics, and what configuration and mode the proxy runs with. */
export function createMetricsApp(options: {
  metrics: Registry;
  mode: string;
  config: unknown;
  /** For /statusz and /flagz. */
  program: ProgramFacts;
  /** Serve /debug/pprof. */
  enableProfiling: boolean;
  clock: Clock;
  /** Below /debug/berth; it asks for credentials itself. */
  debug?: Router;
}): Express {
  const app = express().disable('x-powered-by').disable('etag');
  app.use((_request, response, next) => {
    response.set('X-Content-Type-Options', 'nosniff');
    next();
  });
  const slis = createHealthMetrics();
  app.get('/healthz', (_request, response) => {
    slis.checked('ping', 'healthz', true);
    response.type('text/plain').send('ok');
  });
  app.get('/proxyMode', (_request, response) => {
    response.type('text/plain').send(options.mode);
  });
  app.get('/configz', (_request, response) => {
    response.json({ 'kubeproxy.config.k8s.io': options.config });
  });
  app.get('/metrics', async (_request, response) => {
    response.set('Content-Type', options.metrics.contentType).send(await options.metrics.metrics());
  });
  app.get('/metrics/slis', async (_request, response) => {
    response.set('Content-Type', slis.registry.contentType).send(await slis.registry.metrics());
  });
  serveZPages(app, { component: 'kube-proxy', ...options.program, paths: SHOWN_PATHS, clock: options.clock });
  if (options.enableProfiling) serveProfiles(app, options);
  if (options.debug) app.use('/debug/berth', options.debug);
  return app;
}

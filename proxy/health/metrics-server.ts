import express, { type Express, type Router } from 'express';
import { createHealthMetrics } from '../../src/runtime/health-metrics.ts';
import type { Registry } from '../../src/runtime/metrics.ts';

/** Port 10249, loopback: metrics, and what configuration and mode the proxy runs with. */
export function createMetricsApp(options: {
  metrics: Registry;
  mode: string;
  config: unknown;
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
  if (options.debug) app.use('/debug/berth', options.debug);
  return app;
}

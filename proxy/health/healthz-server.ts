import express, { type Express, type Response } from 'express';
import type { Counter } from '../../src/runtime/metrics.ts';
import type { ProxyHealthState } from './proxy-health.ts';

export interface HealthzOptions {
  state(): ProxyHealthState;
  /** Loops that have been silent for too long; any makes the proxy unhealthy. */
  overdueLoops(): readonly { name: string }[];
  healthzTotal: Counter<'code'>;
  livezTotal: Counter<'code'>;
}

/** Port 10256: `/healthz` for load balancers (a node that goes away says 503), `/livez` for whoever restarts the proxy. */
export function createHealthzApp(options: HealthzOptions): Express {
  const app = express().disable('x-powered-by').disable('etag');
  const answer = (
    response: Response,
    isFine: boolean,
    state: ProxyHealthState,
    extra: object,
    total: Counter<'code'>,
  ) => {
    const code = isFine ? 200 : 503;
    total.inc({ code: String(code) });
    const times = { lastUpdated: goTime(state.lastUpdatedMs), currentTime: goTime(state.nowMs) };
    // Not express's `set`, which would add a charset.
    response.setHeader('Content-Type', 'application/json').setHeader('X-Content-Type-Options', 'nosniff');
    response.status(code).end(JSON.stringify({ ...times, ...extra }));
  };
  const isAlive = (state: ProxyHealthState) => state.isHealthy && options.overdueLoops().length === 0;
  app.get('/healthz', (_request, response) => {
    const state = options.state();
    const isFine = isAlive(state) && state.isNodeEligible;
    answer(response, isFine, state, { nodeEligible: state.isNodeEligible }, options.healthzTotal);
  });
  app.get('/livez', (_request, response) => {
    const state = options.state();
    answer(response, isAlive(state), state, {}, options.livezTotal);
  });
  return app;
}

/** As Go prints a time, which is what parsers of kube-proxy's answer expect. */
function goTime(ms: number): string {
  return `${new Date(ms).toISOString().replace('T', ' ').replace('Z', '')} +0000 UTC`;
}

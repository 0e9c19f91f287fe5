import type { UserInfo } from '../../src/auth/user.ts';
import { Counter, Gauge, Histogram, type Registry } from '../../src/runtime/metrics.ts';
import type { InFlight } from './in-flight.ts';
import type { RequestInfo } from './request-info.ts';

export interface ServerMetrics {
  /** Who a request came from, as the authenticator found it. */
  authenticated(user: UserInfo | undefined | 'rejected'): void;
  /** One finished request (for a watch: when it ended). */
  request(info: RequestInfo, method: string, code: number, seconds: number): void;
  /** A stream began; the returned function ends it. */
  stream(info: RequestInfo): () => void;
}

const BUCKETS_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/** The metrics of kube-apiserver, by their names. */
export function createServerMetrics(registry: Registry, inFlight: InFlight): ServerMetrics {
  const total = new Counter({
    name: 'apiserver_request_total',
    help: 'Counter of apiserver requests broken out for each verb, group, version, resource, subresource and HTTP response code.',
    labelNames: ['verb', 'group', 'version', 'resource', 'subresource', 'code'],
    registers: [registry],
  });
  const duration = new Histogram({
    name: 'apiserver_request_duration_seconds',
    help: 'Response latency distribution in seconds for each verb, group, version, resource and subresource.',
    labelNames: ['verb', 'group', 'version', 'resource', 'subresource'],
    buckets: BUCKETS_SECONDS,
    registers: [registry],
  });
  const longRunning = new Gauge({
    name: 'apiserver_longrunning_requests',
    help: 'Gauge of all active long-running apiserver requests broken out by verb, group, version and resource.',
    labelNames: ['verb', 'group', 'version', 'resource', 'subresource'],
    registers: [registry],
  });
  new Gauge({
    name: 'apiserver_current_inflight_requests',
    help: 'Number of requests that are being worked on, by kind.',
    labelNames: ['request_kind'],
    registers: [registry],
    collect() {
      this.set({ request_kind: 'readOnly' }, inFlight.count('readOnly'));
      this.set({ request_kind: 'mutating' }, inFlight.count('mutating'));
    },
  });
  const attempts = new Counter({
    name: 'authentication_attempts',
    help: 'Counter of authenticated attempts.',
    labelNames: ['result'],
    registers: [registry],
  });
  const labels = (info: RequestInfo, method: string) => ({
    verb: metricVerb(info, method),
    group: info.group,
    version: info.version,
    resource: info.resource,
    subresource: info.subresource,
  });
  return {
    authenticated(user) {
      attempts.inc({ result: user === undefined ? 'failure' : user === 'rejected' ? 'error' : 'success' });
    },
    request(info, method, code, seconds) {
      const of = labels(info, method);
      total.inc({ ...of, code: String(code) });
      if (!isLongRunning(info)) duration.observe(of, seconds);
    },
    stream(info) {
      const of = labels(info, 'GET');
      longRunning.inc(of);
      return () => longRunning.dec(of);
    },
  };
}

/** Requests that last as long as the client likes. */
export const isLongRunning = (info: RequestInfo) => info.verb === 'watch' || info.subresource === 'log';

const CONNECT_SUBRESOURCES = new Set(['log', 'exec', 'attach', 'portforward', 'proxy']);

function metricVerb(info: RequestInfo, method: string): string {
  if (!info.isResource) return method;
  if (CONNECT_SUBRESOURCES.has(info.subresource)) return 'CONNECT';
  const verbs: Record<string, string> = { create: 'POST', update: 'PUT' };
  return verbs[info.verb] ?? info.verb.toUpperCase();
}

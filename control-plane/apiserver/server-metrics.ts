import type { UserInfo } from '../../src/auth/user.ts';
import { Counter, Gauge, Histogram, type Registry } from '../../src/runtime/metrics.ts';
import type { InFlight } from './in-flight.ts';
import type { Registry as Definitions } from './registry.ts';
import type { RequestInfo } from './request-info.ts';

export interface ServerMetrics {
  /** Who a request came from, as the authenticator found it. */
  authenticated(user: UserInfo | undefined | 'rejected'): void;
  /** One finished request (for a watch: when it ended). */
  request(info: RequestInfo, method: string, code: number, seconds: number): void;
  /** A stream began; the returned function ends it. */
  stream(info: RequestInfo): () => void;
}

/** Upstream's, and what /metrics of an SLO has. */
const SLI_BUCKETS_SECONDS = [0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60];
const BUCKETS_SECONDS = [0.005, 0.025, ...SLI_BUCKETS_SECONDS];
const REQUEST_LABELS = ['verb', 'group', 'version', 'resource', 'subresource', 'scope', 'component'] as const;

/** The metrics of kube-apiserver, by their names. What clients make up (resources that are not `served`, methods) becomes no label. */
export function createServerMetrics(
  registry: Registry,
  inFlight: InFlight,
  served: Pick<Definitions, 'find'>,
): ServerMetrics {
  const total = new Counter({
    name: 'apiserver_request_total',
    help: 'Counter of apiserver requests broken out for each verb, group, version, resource, subresource and HTTP response code.',
    labelNames: [...REQUEST_LABELS, 'dry_run', 'code'],
    registers: [registry],
  });
  const duration = new Histogram({
    name: 'apiserver_request_duration_seconds',
    help: 'Response latency distribution in seconds for each verb, group, version, resource and subresource.',
    labelNames: [...REQUEST_LABELS, 'dry_run'],
    buckets: BUCKETS_SECONDS,
    registers: [registry],
  });
  const sli = new Histogram({
    name: 'apiserver_request_sli_duration_seconds',
    help: 'Response latency distribution (not counting webhook duration and priority & fairness queue wait times) in seconds for each verb, group, version, resource, subresource, scope and component.',
    labelNames: REQUEST_LABELS,
    buckets: SLI_BUCKETS_SECONDS,
    registers: [registry],
  });
  const longRunning = new Gauge({
    name: 'apiserver_longrunning_requests',
    help: 'Gauge of all active long-running apiserver requests broken out by verb, group, version and resource.',
    labelNames: REQUEST_LABELS,
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
  const isServed = ({ group, version, resource, subresource }: RequestInfo) => {
    const definition = served.find(group, version, resource);
    return (
      definition && (!subresource || subresource === 'status' || Object.hasOwn(definition.subresources, subresource))
    );
  };
  const labels = (info: RequestInfo, method: string) => ({
    verb: metricVerb(info, method),
    ...(isServed(info)
      ? { group: info.group, version: info.version, resource: info.resource, subresource: info.subresource }
      : { group: '', version: '', resource: '', subresource: '' }),
    scope: scopeOf(info),
    component: 'apiserver',
  });
  return {
    authenticated(user) {
      attempts.inc({ result: user === undefined ? 'failure' : user === 'rejected' ? 'error' : 'success' });
    },
    request(info, method, code, seconds) {
      const of = labels(info, method);
      total.inc({ ...of, dry_run: '', code: String(code) });
      if (isLongRunning(info)) return;
      duration.observe({ ...of, dry_run: '' }, seconds);
      sli.observe(of, seconds);
    },
    stream(info) {
      const of = labels(info, 'GET');
      longRunning.inc(of);
      return () => longRunning.dec(of);
    },
  };
}

/** Requests that last as long as the client likes. */
export const isLongRunning = (info: RequestInfo) => info.verb === 'watch' || CONNECT_SUBRESOURCES.has(info.subresource);

const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);
const CONNECT_SUBRESOURCES = new Set(['log', 'exec', 'attach', 'portforward', 'proxy']);

function metricVerb(info: RequestInfo, method: string): string {
  if (!info.isResource) return METHODS.has(method) ? method : 'other';
  if (CONNECT_SUBRESOURCES.has(info.subresource)) return 'CONNECT';
  const verbs: Record<string, string> = { create: 'POST', update: 'PUT', '': 'other' };
  return verbs[info.verb] ?? info.verb.toUpperCase();
}

/** What a request reaches: one object, those of a namespace, or those of the cluster; nothing when it is for no resource. */
function scopeOf(info: RequestInfo): string {
  if (!info.isResource) return '';
  if (info.name || info.verb === 'create') return 'resource';
  return info.namespace ? 'namespace' : 'cluster';
}

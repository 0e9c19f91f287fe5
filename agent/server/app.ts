import express, { type Express, type NextFunction, type Request, type Response } from 'express';
import { plainText } from '../../src/diagnostics/plain-text.ts';
import { serveProfiles } from '../../src/diagnostics/profiles.ts';
import { serveZPages } from '../../src/diagnostics/z-pages.ts';
import type { DockerEngine } from '../../src/docker/engine.ts';
import type { Pod } from '../../src/kube/types.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { HealthMetrics } from '../../src/runtime/health-metrics.ts';
import type { Heartbeats } from '../../src/runtime/heartbeat.ts';
import type { Logger } from '../../src/runtime/log.ts';
import type { Registry } from '../../src/runtime/metrics.ts';
import type { ContainerExec, PodDirectory } from '../pods/ports.ts';
import type { StatisticsEndpoints } from '../stats/endpoints.ts';
import type { NodeMetrics } from '../stats/metrics.ts';
import type { RefuseAccess } from './access.ts';
import { serveCheckpoint } from './checkpoint.ts';
import { chooseLogContainer, NoLogError, readContainerLog } from './container-logs.ts';
import { reportHealth } from './healthz.ts';
import type { InFlight } from './in-flight.ts';
import { LogOptionsError, parseLogOptions } from './log-options.ts';
import { refuseOtherMethods } from './methods.ts';
import { endWhenStalled } from './request-edge.ts';
import { serveRunCommand } from './run-command.ts';
import { serveStatistics } from './statistics.ts';
import { STREAMS } from './streams.ts';
import { type SystemLogsOptions, serveSystemLogs } from './system-logs.ts';
import { serveVerbosity } from './verbosity.ts';

export interface AgentAppDeps {
  pods: PodDirectory;
  docker: Pick<DockerEngine, 'containerLogs'>;
  heartbeats: Heartbeats;
  registry: Registry;
  probeRegistry: Registry;
  slis: HealthMetrics;
  statistics: StatisticsEndpoints;
  metrics?: Pick<NodeMetrics, 'request'>;
  /** Runs commands for /run. */
  exec: ContainerExec;
  /** Absent: /logs is off. */
  systemLogs?: SystemLogsOptions;
  /** KubeletConfiguration: enableDebuggingHandlers. */
  debuggingHandlers: boolean;
  /** enableProfilingHandler, enableDebugFlagsHandler */
  profilingHandler: boolean;
  debugFlagsHandler: boolean;
  /** For /statusz and /flagz. */
  program: { version: string; flags: Readonly<Record<string, string>> };
  /** Who may do what. */
  refuseAccess: RefuseAccess;
  /** How much is worked on at once. */
  inFlight: InFlight;
  /** KubeletConfiguration: streamingConnectionIdleTimeout. */
  streamingIdleTimeoutMs: number;
  /** KubeletConfiguration in force, for /configz. */
  configuration: () => object;
  clock: Clock;
  log: Logger;
}

/** What `enableDebuggingHandlers: false` takes away: everything that reaches into containers, and into the program. */
const DEBUGGING = [...STREAMS, 'run', 'containerLogs', 'runningpods', 'logs', 'debug'];

const SHOWN_PATHS = ['/configz', '/healthz', '/metrics', '/pods', '/runningpods', '/stats/summary'];

/** Routes of port 10250. Every request is authenticated first, then authorized. */
export function createAgentApp(deps: AgentAppDeps): Express {
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  // As upstream, and as authorization reads paths.
  app.enable('case sensitive routing');
  app.use(measure(deps));
  app.use(requireAccess(deps));
  app.use(bound(deps));

  if (!deps.debuggingHandlers)
    for (const path of DEBUGGING)
      app.all([`/${path}`, `/${path}/{*rest}`], (_, response) =>
        plainText(response, 405, 'Debug endpoints are disabled.\n'),
      );
  app.get(['/healthz', '/healthz/syncloop'], (request, response) => {
    const { healthy, text } = reportHealth(deps, 'verbose' in request.query);
    plainText(response, healthy ? 200 : 500, text);
  });
  app.get(['/healthz/ping', '/healthz/log'], (_, response) => plainText(response, 200, 'ok'));
  app.get('/pods{/}', (_, response) => void response.json(podList(deps.pods.list())));
  app.get('/runningpods{/}', (_, response) => void response.json(podList(runningPods(deps.pods))));
  app.get('/configz', (_, response) => void response.json({ kubeletconfig: deps.configuration() }));
  app.get('/metrics', (_, response) => exposition(response, deps.registry));
  serveStatistics(app, deps.statistics);
  app.get('/metrics/slis', (_, response) => exposition(response, deps.slis.registry));
  app.get('/metrics/probes', (_, response) => exposition(response, deps.probeRegistry));
  serveRunCommand(app, deps);
  serveZPages(app, { component: 'kubelet', ...deps, ...deps.program, paths: SHOWN_PATHS });
  if (deps.systemLogs) serveSystemLogs(app, deps.systemLogs);
  else app.all(['/logs', '/logs/{*rest}'], (_, response) => plainText(response, 405, 'logs endpoint is disabled.\n'));
  app.get('/containerLogs/:namespace/:pod/:container', (request, response) => serveLogs(deps, request, response));
  for (const path of STREAMS)
    app.all(`/${path}/{*rest}`, (_, response) => plainText(response, 400, 'Upgrade request required\n'));
  serveCheckpoint(app, deps);
  if (deps.profilingHandler) serveProfiles(app, deps);
  else app.all('/debug/pprof{/*rest}', (_, response) => plainText(response, 405, 'profiling endpoint is disabled.\n'));
  if (deps.debugFlagsHandler) serveVerbosity(app, deps);
  else app.all('/debug/flags/v', (_, response) => plainText(response, 405, 'flags endpoint is disabled.\n'));
  refuseOtherMethods(app);
  app.use((request: Request, response: Response) => plainText(response, 404, `404 page not found: ${request.path}\n`));
  app.use((error: Error & { status?: number }, request: Request, response: Response, _: NextFunction) => {
    // A malformed escape in the path.
    if (error.status === 400 && !response.headersSent) return plainText(response, 400, `${error.message}\n`);
    deps.log.error({ err: error, path: request.path }, 'a request to the node failed');
    if (response.headersSent) response.destroy();
    else plainText(response, 500, `Internal Error: ${error.message}\n`);
  });
  return app;
}

function requireAccess({ refuseAccess }: Pick<AgentAppDeps, 'refuseAccess'>) {
  return async (request: Request, response: Response, next: NextFunction) => {
    const refusal = await refuseAccess(request, request.path);
    if (refusal?.status === 429) response.set('retry-after', '1');
    if (refusal) plainText(response, refusal.status, refusal.text);
    else next();
  };
}

/** For answers that are held whole; logs are fetched as slowly as their reader likes (a pager on a terminal). */
const STALL_MS = 60_000;

/** Refuses what would be too much at once, and ends what nobody fetches. */
function bound({ inFlight, streamingIdleTimeoutMs, clock }: AgentAppDeps) {
  return (request: Request, response: Response, next: NextFunction) => {
    const release = inFlight.enter(isFollower(request) ? 'long' : 'short');
    if (!release) {
      response.set('retry-after', '1');
      plainText(response, 429, 'Too many requests, please try again later.\n');
      return;
    }
    response.once('close', release);
    endWhenStalled(response, request.path.startsWith('/containerLogs/') ? streamingIdleTimeoutMs : STALL_MS, clock);
    next();
  };
}

function isFollower(request: Request): boolean {
  return request.path.startsWith('/containerLogs/') && request.query.follow !== undefined;
}

/** First parts of paths that the metrics name; what clients make up is one `other`. */
const KNOWN_PATHS = new Set(
  [
    'healthz',
    'pods',
    'runningpods',
    'configz',
    'metrics',
    'stats',
    'logs',
    'run',
    'statusz',
    'flagz',
    'containerLogs',
    ...STREAMS,
    'checkpoint',
    'debug',
  ].map((path) => path.split('/')[0]),
);

function knownPath(first: string): string {
  return KNOWN_PATHS.has(first) ? first : 'other';
}

function measure({ metrics }: AgentAppDeps) {
  return (request: Request, response: Response, next: NextFunction) => {
    const longRunning = isFollower(request);
    const path = knownPath(request.path.split('/')[1] ?? '');
    const end = metrics?.request({ method: request.method, path, longRunning, serverType: 'readwrite' });
    if (end) response.once('close', end);
    next();
  };
}

async function exposition(response: Response, registry: Registry) {
  response.set('content-type', registry.contentType).end(await registry.metrics());
}

function podList(items: Pod[]) {
  return { kind: 'PodList', apiVersion: 'v1', metadata: {}, items };
}

/** What the runtime runs, in the least of a Pod. */
function runningPods(pods: PodDirectory): Pod[] {
  return pods.list().flatMap(({ metadata: { name, namespace, uid } }) => {
    const running = pods.runtime(uid)?.containers.filter(({ state }) => state === 'running') ?? [];
    if (running.length === 0) return [];
    const containers = running.map((container) => ({ name: container.name, image: container.image, resources: {} }));
    return [{ metadata: { name, namespace, uid }, spec: { containers }, status: {} } as unknown as Pod];
  });
}

async function serveLogs(deps: AgentAppDeps, request: Request, response: Response) {
  const { namespace = '', pod: podName = '', container = '' } = request.params as Record<string, string>;
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  try {
    const query = new URL(request.originalUrl, 'https://node').searchParams;
    const options = parseLogOptions(query, deps.clock.nowMs());
    const pod = deps.pods.get(namespace, podName);
    if (!pod) throw new NoLogError(404, `pod "${podName}" does not exist`);
    const chosen = chooseLogContainer(pod, container, options.previous);
    response.status(200).set('content-type', 'text/plain');
    // A follower sees the headers at once, however long the container is silent.
    if (options.follow) response.flushHeaders();
    for await (const chunk of readContainerLog(deps.docker, chosen, options, gone.signal))
      if (!response.write(chunk)) await drained(response, gone.signal);
    response.end();
  } catch (error) {
    if (gone.signal.aborted) return;
    if (response.headersSent || !(error instanceof NoLogError || error instanceof LogOptionsError)) throw error;
    plainText(response, error instanceof NoLogError ? error.statusCode : 422, `${error.message}\n`);
  }
}

function drained(response: Response, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const finish = () => {
      response.off('drain', finish);
      signal.removeEventListener('abort', finish);
      resolve();
    };
    response.on('drain', finish);
    signal.addEventListener('abort', finish);
  });
}

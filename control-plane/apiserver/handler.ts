import type { UserInfo } from '../../src/auth/user.ts';
import { type FieldRequirement, parseFieldSelector } from '../../src/kube/selectors.ts';
import type { HealthMetrics } from '../../src/runtime/health-metrics.ts';
import type { Logger } from '../../src/runtime/log.ts';
import type { Registry as MetricsRegistry } from '../../src/runtime/metrics.ts';
import type { IssuerDiscovery } from '../service-accounts/issuer-discovery.ts';
import { ANONYMOUS, type Authenticator, allowsAnonymous, isOpen } from './authentication.ts';
import type { AuthorizationAttributes, Authorizer } from './authorization.ts';
import type { Discovery } from './discovery.ts';
import { Exchange, type HttpRequest, type HttpResponse, type Upgrade } from './exchange.ts';
import { type HealthCheck, handleHealth } from './health.ts';
import type { InFlight } from './in-flight.ts';
import { handleOpenApi, type OpenApiSource } from './openapi.ts';
import { parseRequestInfo, type RequestInfo } from './request-info.ts';
import type { Api } from './rest/api.ts';
import { dispatchResource } from './rest/dispatch.ts';
import { isLongRunning, type ServerMetrics } from './server-metrics.ts';
import {
  badRequest,
  internalError,
  methodNotAllowed,
  pathNotFound,
  StatusError,
  unauthorized,
} from './status-error.ts';

/** `GET /version`; `major` and `minor` are integers only. */
export interface VersionInfo {
  readonly major: string;
  readonly minor: string;
  readonly gitVersion: string;
  readonly gitCommit: string;
  readonly gitTreeState: string;
  readonly buildDate: string;
  readonly goVersion: string;
  readonly compiler: string;
  readonly platform: string;
}

export interface HandlerParts {
  readonly api: Api;
  readonly authenticator: Authenticator;
  readonly authorizer: Authorizer;
  readonly discovery: Discovery;
  readonly openApi: OpenApiSource;
  readonly issuer?: IssuerDiscovery;
  readonly inFlight: InFlight;
  readonly metrics: ServerMetrics;
  readonly registry: MetricsRegistry;
  readonly slis: HealthMetrics;
  readonly checks: readonly HealthCheck[];
  readonly version: VersionInfo;
  readonly log: Logger;
  /** Aborts when the server begins to stop. */
  readonly stopping: AbortSignal;
}

const READ_VERBS = new Set(['get', 'list', 'watch', 'head']);

/**
 * The way of every request: authentication → authorization → in-flight limit → discovery, health, OpenAPI or a resource.
 * Whatever is thrown on it becomes a Status; nothing escapes.
 */
export function createHandler(
  parts: HandlerParts,
): (request: HttpRequest, response: HttpResponse, upgrade?: Upgrade) => void {
  return (request, response, upgrade) => {
    // A client that leaves in the middle is no error of ours.
    request.on('error', () => {});
    response.on('error', () => {});
    void serve(parts, new Exchange(request, response, upgrade));
  };
}

async function serve(parts: HandlerParts, exchange: Exchange): Promise<void> {
  const startMs = parts.api.clock.monotonicMs();
  const info = parseRequestInfo(exchange.method, exchange.path, exchange.query);
  try {
    if (!info) throw badRequest(`the path ${exchange.path} has a malformed escape`);
    const user = await authenticate(parts, exchange);
    await authorize(parts, exchange, info, user);
    await withinLimits(parts, info, () => route(parts, exchange, info, user));
  } catch (error) {
    await exchange.sendError(toStatusError(parts.log, exchange, error));
  }
  if (info) {
    const seconds = (parts.api.clock.monotonicMs() - startMs) / 1000;
    parts.metrics.request(info, exchange.method, exchange.response.statusCode, seconds);
  }
}

async function authenticate({ authenticator, metrics }: HandlerParts, exchange: Exchange): Promise<UserInfo> {
  // To ignore it would act with the caller's own rights instead of the lesser ones that it asked for.
  if (Object.keys(exchange.request.headers).some((name) => name.startsWith('impersonate-')))
    throw badRequest('impersonation (Impersonate-… headers) is not supported by this server');
  const user = await authenticator.authenticate(exchange.request);
  // The health endpoints are asked all the time and by nobody in particular.
  if (!isOpen(exchange.path)) metrics.authenticated(user);
  if (user && user !== 'rejected') return user;
  if (user === undefined && allowsAnonymous(exchange.path)) return ANONYMOUS;
  throw unauthorized();
}

async function authorize(
  { authorizer, log }: HandlerParts,
  exchange: Exchange,
  info: RequestInfo,
  user: UserInfo,
): Promise<void> {
  if (isOpen(exchange.path)) return;
  const attributes = authorizationAttributes(exchange, info, user);
  const decision = await authorizer.authorize(attributes);
  if (decision.allowed) return;
  log.debug({ user: user.username, verb: info.verb, path: info.path, reason: decision.reason }, 'request denied');
  throw deniedStatus(attributes, decision.reason);
}

export function authorizationAttributes(
  exchange: Pick<Exchange, 'query'>,
  info: RequestInfo,
  user: UserInfo,
): AuthorizationAttributes {
  const fieldSelector = exchange.query.get('fieldSelector') ?? '';
  const collection = info.verb === 'list' || info.verb === 'watch' || info.verb === 'deletecollection';
  return {
    user,
    verb: info.verb,
    resourceRequest: info.isResource,
    path: info.path,
    apiGroup: info.group,
    apiVersion: info.version,
    resource: info.resource,
    subresource: info.subresource,
    namespace: info.namespace,
    name: info.name || (collection ? selectedName(fieldSelector) : ''),
    fieldSelector,
    labelSelector: exchange.query.get('labelSelector') ?? '',
  };
}

/** A list of one name is judged as that name. Parsed as the list itself parses it: a value may hold an escaped comma. */
function selectedName(fieldSelector: string): string {
  try {
    const isName = ({ field, operator }: FieldRequirement) => field === 'metadata.name' && operator === '=';
    return parseFieldSelector(fieldSelector).find(isName)?.value ?? '';
  } catch {
    // Malformed: refused for that later, if the request gets so far.
    return '';
  }
}

/** In upstream's words: `pods "x" is forbidden: User "u" cannot get resource "pods" in API group "" in the namespace "n"`. */
export function deniedStatus(attributes: AuthorizationAttributes, reason: string): StatusError {
  const { user, verb, apiGroup, resource, subresource, namespace, name, path } = attributes;
  const who = `User ${JSON.stringify(user.username)} cannot ${verb}`;
  const why = reason ? `: ${reason}` : '';
  if (!attributes.resourceRequest)
    return new StatusError(403, 'Forbidden', `forbidden: ${who} path ${JSON.stringify(path)}${why}`, {});
  const full = subresource ? `${resource}/${subresource}` : resource;
  const where = namespace ? `in the namespace ${JSON.stringify(namespace)}` : 'at the cluster scope';
  const what = apiGroup ? `${resource}.${apiGroup}` : resource;
  return new StatusError(
    403,
    'Forbidden',
    `${what}${name ? ` ${JSON.stringify(name)}` : ''} is forbidden: ${who} resource ${JSON.stringify(full)} in API group ${JSON.stringify(apiGroup)} ${where}${why}`,
    { ...(name ? { name } : {}), ...(apiGroup ? { group: apiGroup } : {}), kind: resource },
  );
}

async function withinLimits(parts: HandlerParts, info: RequestInfo, work: () => Promise<void>): Promise<void> {
  const leave = isLongRunning(info)
    ? parts.metrics.stream(info)
    : parts.inFlight.enter(READ_VERBS.has(info.verb) ? 'readOnly' : 'mutating');
  try {
    await work();
  } finally {
    leave();
  }
}

async function route(parts: HandlerParts, exchange: Exchange, info: RequestInfo, user: UserInfo): Promise<void> {
  if (info.isResource) return dispatchResource(parts.api, info, exchange, user, parts.stopping);
  if (exchange.method !== 'GET' && exchange.method !== 'HEAD') {
    throw exchange.path === '/' || exchange.path.startsWith('/api') ? methodNotAllowed() : pathNotFound();
  }
  if (exchange.path === '/version')
    return exchange.send(200, `${JSON.stringify(parts.version, null, 2)}\n`, 'application/json');
  if (exchange.path === '/metrics')
    return exchange.send(200, await parts.registry.metrics(), parts.registry.contentType);
  if (exchange.path === '/metrics/slis')
    return exchange.send(200, await parts.slis.registry.metrics(), parts.slis.registry.contentType);
  if (await handleHealth(exchange, parts.checks, parts.slis)) return;
  if (await parts.discovery.handle(exchange)) return;
  if (await handleOpenApi(exchange, parts.openApi)) return;
  if (await parts.issuer?.handle(exchange)) return;
  throw pathNotFound();
}

function toStatusError(log: Logger, exchange: Exchange, error: unknown): StatusError {
  if (error instanceof StatusError) return error;
  // The client left while we worked: nobody reads the answer.
  if (!exchange.gone) log.error({ err: error, method: exchange.method, path: exchange.path }, 'request failed');
  return internalError(error instanceof Error ? error.message : String(error));
}

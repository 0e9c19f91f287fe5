import type { KubeObject } from '../../../src/kube/types.ts';
import { readObject } from '../body.ts';
import type { ConnectSubresource, CreateSubresource, ProjectionSubresource } from '../definition.ts';
import { invalidObject, notFound } from '../status-error.ts';
import { keyOf } from './api.ts';
import { refuseDryRun, strategyContext } from './context.ts';
import { modifyObject } from './modify.ts';
import { readPatch } from './patch.ts';
import { mainRules, updateObject } from './update.ts';
import type { RestRequest } from './write-handlers.ts';

/** POST of another kind onto an object (pods/binding). */
export async function handleCreateSubresource(request: RestRequest, subresource: CreateSubresource): Promise<void> {
  const { api, served, info, exchange, user, format } = request;
  refuseDryRun(exchange.query.get('dryRun'));
  const body = await readObject<KubeObject & Record<string, unknown>>(
    exchange,
    api.schema,
    subresource,
    api.requestTimeoutMs,
  );
  const answer = await subresource.create({
    namespace: info.namespace,
    name: info.name,
    body,
    context: strategyContext(api, exchange, user),
    modify: (change) => modifyObject(api, served, info, change),
  });
  await exchange.sendJson(201, JSON.stringify(answer), format);
}

/** The object under another kind (deployments/scale): GET shows it, PUT and PATCH write through it. */
export async function handleProjection(request: RestRequest, subresource: ProjectionSubresource): Promise<void> {
  const { api, served, info, exchange, user, format } = request;
  const { definition, codec } = served;
  const show = (record: Parameters<typeof codec.object>[0]) =>
    exchange.sendJson(200, JSON.stringify(subresource.project(codec.object(record))), format);
  if (info.verb === 'get') {
    const record = await api.store.get(keyOf(served, info.namespace, info.name));
    if (!record) throw notFound(definition, info.name);
    return show(record);
  }
  refuseDryRun(exchange.query.get('dryRun'));
  const { insists, apply } = await readProjection(request, subresource);
  const record = await updateObject(
    api,
    served,
    info,
    (current) => {
      const object = codec.copy(current);
      const projection = apply(subresource.project(codec.object(current)));
      const errors = subresource.validate(projection);
      if (errors.length > 0) throw invalidObject({ ...subresource, plural: '' }, info.name, errors);
      if (projection.metadata.resourceVersion) object.metadata.resourceVersion = projection.metadata.resourceVersion;
      subresource.apply(object, projection);
      return object;
    },
    mainRules(definition),
    strategyContext(api, exchange, user),
    { insists },
  );
  await show(record);
}

/** A PUT replaces the projection, a PATCH changes it. */
async function readProjection(
  { api, info, exchange }: RestRequest,
  subresource: ProjectionSubresource,
): Promise<{ insists: boolean; apply: (projection: KubeObject) => KubeObject }> {
  if (info.verb === 'patch') {
    const patch = await readPatch(exchange, api.schema, subresource, api.requestTimeoutMs);
    return { insists: patch.insists, apply: (projection) => patch.apply(structuredClone(projection)) };
  }
  const body = await readObject(exchange, api.schema, subresource, api.requestTimeoutMs);
  return { insists: Boolean(body.metadata.resourceVersion), apply: () => body };
}

/** What is answered by a stream (pods/log), or by a connection of another protocol (pods/exec). */
export async function handleConnect(
  request: RestRequest,
  subresource: ConnectSubresource,
  stopping: AbortSignal,
): Promise<void> {
  const { api, served, info, exchange, user } = request;
  const name = subresource.objectName?.(info.name) ?? info.name;
  const record = await api.store.get(keyOf(served, info.namespace, name));
  if (!record) throw notFound(served.definition, name);
  await subresource.connect({
    object: served.codec.object(record),
    name: info.name,
    path: pathBehind(exchange.request.url ?? ''),
    query: exchange.query,
    context: strategyContext(api, exchange, user),
    request: exchange.request,
    response: exchange.response,
    ...(exchange.upgrade && { upgrade: exchange.upgrade }),
    signal: AbortSignal.any([exchange.signal, stopping]),
  });
}

/** `/api/v1/nodes/N/proxy`, `/apis/G/V/namespaces/NS/KINDS/NAME/SUB`, and what follows. */
const SUBRESOURCE_PATH = /^\/+(?:api\/[^/]+|apis\/[^/]+\/[^/]+)\/+(?:namespaces\/[^/]+\/+)?[^/]+\/+[^/]+\/+[^/]+(.*)$/;

/** The part of the request's path behind the subresource, with its escapes as they were sent. */
function pathBehind(url: string): string {
  return SUBRESOURCE_PATH.exec(url.split('?')[0]!)?.[1] ?? '';
}

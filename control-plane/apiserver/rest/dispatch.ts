import type { UserInfo } from '../../../src/auth/user.ts';
import type { SubresourceDefinition, Verb } from '../definition.ts';
import type { Exchange } from '../exchange.ts';
import type { RequestInfo } from '../request-info.ts';
import { methodNotAllowed, pathNotFound } from '../status-error.ts';
import type { Api } from './api.ts';
import { handleComputed } from './computed.ts';
import { outputFormat } from './output.ts';
import { handleGet, handleList } from './read.ts';
import { handleConnect, handleCreateSubresource, handleProjection } from './subresource-handlers.ts';
import { handleWatch } from './watch.ts';
import {
  handleCreate,
  handleDelete,
  handleDeleteCollection,
  handlePatch,
  handleUpdate,
  type RestRequest,
  subresourceRules,
} from './write-handlers.ts';

/** Finds the resource of a request and has its verb carried out. Throws 404 and 405. */
export async function dispatchResource(
  api: Api,
  info: RequestInfo,
  exchange: Exchange,
  user: UserInfo,
  stopping: AbortSignal,
): Promise<void> {
  const definition = api.registry.find(info.group, info.version, info.resource);
  if (!definition) throw pathNotFound();
  // /namespaces itself and what is below it: the name is in both places.
  const namespace = definition.namespaced ? info.namespace : '';
  if (!definition.namespaced && info.namespace && info.resource !== 'namespaces') throw pathNotFound();
  if (definition.namespaced && info.name && !namespace) throw pathNotFound();
  const served = api.served(definition);
  const request = { api, served, info: { ...info, namespace }, exchange, user };
  if (info.subresource) return dispatchSubresource(request, stopping);
  assertVerb(definition.verbs, info);
  const format = outputFormat(exchange, definition.columns.length > 0);
  if (definition.computed) return handleComputed(api, served, definition.computed, request.info, exchange, format);
  const formatted = { ...request, format };
  switch (info.verb) {
    case 'get':
      return handleGet(api, served, request.info, exchange, format);
    case 'list':
      return handleList(api, served, request.info, exchange, format);
    case 'watch':
      return handleWatch(api, served, request.info, exchange, format, stopping);
    case 'create':
      if (info.name) throw methodNotAllowed();
      return handleCreate(formatted);
    case 'update':
      if (!info.name) throw methodNotAllowed();
      return handleUpdate(formatted);
    case 'patch':
      if (!info.name) throw methodNotAllowed();
      return handlePatch(formatted);
    case 'delete':
      return handleDelete(formatted);
    case 'deletecollection':
      // Of one namespace at a time.
      if (definition.namespaced && !namespace) throw methodNotAllowed();
      return handleDeleteCollection(formatted);
    default:
      throw methodNotAllowed();
  }
}

function assertVerb(verbs: readonly Verb[], { verb }: RequestInfo): void {
  if (!(verbs as readonly string[]).includes(verb)) throw methodNotAllowed();
}

async function dispatchSubresource(request: Omit<RestRequest, 'format'>, stopping: AbortSignal): Promise<void> {
  const { served, info, exchange, api } = request;
  const { definition } = served;
  const subresource: SubresourceDefinition | 'status' | undefined =
    info.subresource === 'status'
      ? definition.hasStatus
        ? 'status'
        : undefined
      : Object.hasOwn(definition.subresources, info.subresource)
        ? definition.subresources[info.subresource]
        : undefined;
  const takesPath = subresource !== 'status' && subresource?.style === 'connect' && subresource.takesPath;
  if (!subresource || (info.rest.length > 0 && !takesPath)) throw notServed(definition.plural, info.subresource);
  if (subresource === 'status' || subresource.style === 'object') {
    const verbs = subresource === 'status' ? ['get', 'update', 'patch'] : subresource.verbs;
    if (!(verbs as readonly string[]).includes(info.verb)) throw methodNotAllowed();
    const format = outputFormat(exchange, definition.columns.length > 0);
    if (info.verb === 'get') return handleGet(api, served, info, exchange, format);
    const rules = subresourceRules(served, subresource);
    return info.verb === 'update'
      ? handleUpdate({ ...request, format }, rules)
      : handlePatch({ ...request, format }, rules);
  }
  if (subresource.style === 'projection') {
    if (!(subresource.verbs as readonly string[]).includes(info.verb)) throw methodNotAllowed();
    return handleProjection({ ...request, format: outputFormat(exchange, false) }, subresource);
  }
  if (subresource.style === 'create') {
    if (info.verb !== 'create') throw methodNotAllowed();
    return handleCreateSubresource({ ...request, format: outputFormat(exchange, false) }, subresource);
  }
  if (!(subresource.verbs as readonly string[]).includes(info.verb)) throw methodNotAllowed();
  return handleConnect(
    { ...request, format: { encoding: 'json', shape: 'object', metaVersion: 'v1' } },
    subresource,
    stopping,
  );
}

/** Names what is missing, so that a person knows that it is the server and not the object. */
const notServed = (plural: string, subresource: string) =>
  pathNotFound(
    `the server could not find the requested resource (${plural}/${subresource} is not supported by this server)`,
  );

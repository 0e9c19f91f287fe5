import type { UserInfo } from '../../../src/auth/user.ts';
import type { DeleteOptions, KubeObject } from '../../../src/kube/types.ts';
import type { StoreRecord } from '../../store/store.ts';
import { decodeBody, readObject } from '../body.ts';
import type { ObjectSubresource, ResourceName } from '../definition.ts';
import type { Exchange } from '../exchange.ts';
import type { OutputFormat } from '../media-type.ts';
import { isTrue, type RequestInfo } from '../request-info.ts';
import { badRequest } from '../status-error.ts';
import { type Api, keyOf, type Served, servedBy } from './api.ts';
import { refuseDryRun, strategyContext } from './context.ts';
import { createObject, settleNamespace } from './create.ts';
import { assertDeleteOptions, type DeleteRequest, deleteObject } from './delete.ts';
import { modifyObject } from './modify.ts';
import { sendRecord, sendRecords } from './output.ts';
import { readPatch } from './patch.ts';
import { parseSelection } from './selection.ts';
import { mainRules, settleResourceVersion, statusRules, type UpdateRules, updateObject } from './update.ts';

/** One request to one resource, ready to be carried out. */
export interface RestRequest<T extends KubeObject = KubeObject> {
  readonly api: Api;
  readonly served: Served<T>;
  readonly info: RequestInfo;
  readonly exchange: Exchange;
  readonly format: OutputFormat;
  readonly user: UserInfo;
}

export async function handleCreate(request: RestRequest): Promise<void> {
  const { api, served, info, exchange, user } = request;
  refuseDryRun(exchange.query.get('dryRun'));
  const object = await readObject(exchange, api.schema, served.definition, api.requestTimeoutMs);
  const context = strategyContext(api, exchange, user);
  const { virtual } = served.definition;
  if (virtual) {
    settleNamespace(served, object, info.namespace);
    const { namespace } = info;
    const answer = await virtual.create({
      object,
      namespace,
      context,
      modify: <S extends KubeObject>(resource: ResourceName, name: string, change: (found: S) => void) =>
        modifyObject<S>(api, servedBy(api, resource) as unknown as Served<S>, { namespace, name }, change),
    });
    return exchange.sendJson(201, JSON.stringify(answer), request.format);
  }
  const record = await createObject(api, served, object, info.namespace, context);
  await reply(request, 201, record);
}

export async function handleUpdate(request: RestRequest, rules = mainRules(request.served.definition)): Promise<void> {
  const { api, served, info, exchange, user } = request;
  const { definition } = served;
  refuseDryRun(exchange.query.get('dryRun'));
  const body = await readObject(exchange, api.schema, definition, api.requestTimeoutMs);
  const context = strategyContext(api, exchange, user);
  body.metadata.name ||= info.name;
  const insists = Boolean(body.metadata.resourceVersion);
  if (definition.allowCreateOnUpdate && !info.subresource && !insists) {
    const current = await api.store.get(keyOf(served, info.namespace, info.name));
    if (!current) {
      if (body.metadata.name !== info.name)
        throw badRequest('the name of the object does not match the name on the URL');
      return reply(request, 201, await createObject(api, served, body, info.namespace, context));
    }
  }
  const record = await updateObject(
    api,
    served,
    info,
    (current) => {
      const object = insists ? body : structuredClone(body);
      settleResourceVersion(definition, object, current);
      return object;
    },
    rules,
    context,
    { insists },
  );
  await reply(request, 200, record);
}

export async function handlePatch(request: RestRequest, rules = mainRules(request.served.definition)): Promise<void> {
  const { api, served, info, exchange, user } = request;
  refuseDryRun(exchange.query.get('dryRun'));
  const patch = await readPatch(exchange, api.schema, served.definition, api.requestTimeoutMs);
  const record = await updateObject(
    api,
    served,
    info,
    (current) => patch.apply(JSON.parse(served.codec.text(current))),
    rules,
    strategyContext(api, exchange, user),
    patch,
  );
  await reply(request, 200, record);
}

/** The doors to an object beside itself: /status and those of the definition. */
export function subresourceRules<T extends KubeObject>(
  served: Served<T>,
  subresource: 'status' | ObjectSubresource<T>,
): UpdateRules<T> {
  if (subresource === 'status') return statusRules(served.definition);
  return {
    prepare: (object, old, context) => subresource.prepareForUpdate(object, old, context),
    validate: (object, old) => subresource.validateUpdate?.(object, old) ?? [],
    countsGeneration: false,
  };
}

export async function handleDelete(request: RestRequest): Promise<void> {
  const { api, served, info, exchange, user } = request;
  const options = await readDeleteOptions(request);
  const context = strategyContext(api, exchange, user);
  const { removed, record } = await deleteObject(api, served, info, options, context);
  if (!removed) return reply(request, 200, record);
  await exchange.sendJson(200, JSON.stringify(successStatus(served, record)), request.format);
}

/** Deletes what the selectors match, one by one; what went meanwhile is no error. */
export async function handleDeleteCollection(request: RestRequest): Promise<void> {
  const { api, served, info, exchange, user, format } = request;
  const options = await readDeleteOptions(request);
  const selection = parseSelection(served.definition, info.namespace, exchange.query);
  const context = strategyContext(api, exchange, user);
  const { records } = await api.store.list({ resource: served.resource, namespace: selection.namespace });
  const deleted: StoreRecord[] = [];
  for (const record of records) {
    if (selection.matches && !selection.matches(served.codec.object(record))) continue;
    try {
      deleted.push((await deleteObject(api, served, record.key, options, context)).record);
    } catch (error) {
      if ((error as { code?: number }).code !== 404) throw error;
    }
  }
  const metadata = { resourceVersion: String(api.store.revision()) };
  await sendRecords(exchange, served, format, deleted, metadata, api.clock.nowMs());
}

/** DeleteOptions come in the body or, in part, in the query. */
async function readDeleteOptions({ api, exchange }: RestRequest): Promise<DeleteRequest> {
  const { query } = exchange;
  refuseDryRun(query.get('dryRun'));
  const hasBody = Number(exchange.header('content-length') ?? 0) > 0 || exchange.header('transfer-encoding');
  const streamed = 'stream' in exchange.request && !exchange.request.stream.endAfterHeaders;
  if (hasBody || streamed) {
    const bytes = await exchange.readBody(api.requestTimeoutMs);
    if (bytes.length > 0) return deleteOptionsOf(api, exchange, bytes);
  }
  const seconds = query.get('gracePeriodSeconds');
  const orphan = query.get('orphanDependents');
  const options: DeleteRequest = {
    ...(seconds !== null ? { gracePeriodSeconds: Number(seconds) } : {}),
    ...(query.get('propagationPolicy') ? { propagationPolicy: query.get('propagationPolicy')! } : {}),
    ...(orphan !== null ? { orphanDependents: isTrue(orphan) } : {}),
  };
  assertDeleteOptions(options);
  return options;
}

/** Clients send DeleteOptions under v1, meta.k8s.io/v1 or the group of the kind; all are the same. */
function deleteOptionsOf(api: Api, exchange: Exchange, bytes: Buffer): DeleteRequest {
  const expected = { apiVersion: 'v1', kind: 'DeleteOptions' };
  const options = decodeBody(exchange, api.schema, expected, bytes) as unknown as DeleteOptions;
  if (options.kind !== 'DeleteOptions') throw badRequest(`a delete takes DeleteOptions, got ${options.kind}`);
  refuseDryRun(options.dryRun);
  assertDeleteOptions(options);
  return options;
}

function successStatus(served: Served, record: StoreRecord) {
  const { definition, codec } = served;
  const details = {
    name: record.key.name,
    ...(definition.group ? { group: definition.group } : {}),
    kind: definition.plural,
    uid: codec.object(record).metadata.uid,
  };
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', details };
}

async function reply({ api, served, exchange, format }: RestRequest, code: number, record: StoreRecord): Promise<void> {
  await sendRecord(exchange, served, format, code, record, api.clock.nowMs());
}

import { CompactedError, FutureRevisionError, type ListResult, type StoreRecord } from '../../store/store.ts';
import type { Exchange } from '../exchange.ts';
import type { OutputFormat } from '../media-type.ts';
import type { RequestInfo } from '../request-info.ts';
import { badRequest, expired, notFound, resourceVersionTooLarge, StatusError } from '../status-error.ts';
import { type Api, keyOf, type Served } from './api.ts';
import { mapInTurns } from './in-turns.ts';
import { decodeContinue, encodeContinue, listVersion, parseLimit, parseResourceVersion } from './list-options.ts';
import { type ListMetadata, sendRecord, sendRecords } from './output.ts';
import { parseSelection, type Selection } from './selection.ts';

const TOKEN_EXPIRED =
  'The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.';

export async function handleGet(
  api: Api,
  served: Served,
  info: RequestInfo,
  exchange: Exchange,
  format: OutputFormat,
): Promise<void> {
  const wanted = parseResourceVersion(exchange.query.get('resourceVersion'));
  if (wanted !== undefined && wanted > api.store.revision())
    throw resourceVersionTooLarge(wanted, api.store.revision());
  const record = await api.store.get(keyOf(served, info.namespace, info.name));
  if (!record) throw notFound(served.definition, info.name);
  await sendRecord(exchange, served, format, 200, record, api.clock.nowMs());
}

export async function handleList(
  api: Api,
  served: Served,
  info: RequestInfo,
  exchange: Exchange,
  format: OutputFormat,
): Promise<void> {
  const selection = parseSelection(served.definition, info.namespace, exchange.query);
  const page = await readPage(api, served, selection, exchange.query);
  await sendRecords(exchange, served, format, page.records, page.metadata, api.clock.nowMs());
}

interface Page {
  readonly records: readonly StoreRecord[];
  readonly metadata: ListMetadata;
}

async function readPage(api: Api, served: Served, selection: Selection, query: URLSearchParams): Promise<Page> {
  const limit = parseLimit(query);
  const { resourceVersion, match } = listVersion(query);
  const token = query.get('continue') ? decodeContinue(query.get('continue')!) : undefined;
  if (token && resourceVersion) throw badRequest('specifying resource version is not allowed when using continue');
  const current = api.store.revision();
  if (resourceVersion !== undefined && resourceVersion > current)
    throw resourceVersionTooLarge(resourceVersion, current);
  // A limited list at a version was exact before resourceVersionMatch existed, and still is.
  const exact = match === 'Exact' || (match === undefined && limit !== undefined && Boolean(resourceVersion));
  const revision = token ? (token.revision > 0 ? token.revision : undefined) : exact ? resourceVersion : undefined;
  const after = token?.after;
  try {
    if (!selection.matches) {
      const result = await api.store.list({
        resource: served.resource,
        namespace: selection.namespace,
        revision,
        after,
        limit,
      });
      return { records: result.records, metadata: listMetadata(result, result.records, result.remaining > 0, true) };
    }
    const result = await candidates(api, served, selection, revision, after);
    const verdicts = await mapInTurns(result.records, (record) => selection.matches!(served.codec.object(record)));
    const matching = result.records.filter((_record, index) => verdicts[index]);
    const records = limit === undefined ? matching : matching.slice(0, limit);
    return { records, metadata: listMetadata(result, records, records.length < matching.length, false) };
  } catch (error) {
    throw explainRevision(error, token);
  }
}

async function candidates(
  api: Api,
  served: Served,
  selection: Selection,
  revision: number | undefined,
  after: { namespace: string; name: string } | undefined,
): Promise<ListResult> {
  // One key: no need to look at the others.
  if (selection.name !== undefined && revision === undefined && !after && isOneKey(served, selection)) {
    const record = await api.store.get(keyOf(served, selection.namespace ?? '', selection.name));
    return { records: record ? [record] : [], revision: api.store.revision(), remaining: 0 };
  }
  return api.store.list({ resource: served.resource, namespace: selection.namespace, revision, after });
}

const isOneKey = (served: Served, selection: Selection) =>
  !served.definition.namespaced || selection.namespace !== undefined;

function listMetadata(
  result: ListResult,
  records: readonly StoreRecord[],
  more: boolean,
  countable: boolean,
): ListMetadata {
  const metadata = { resourceVersion: String(result.revision) };
  const last = records.at(-1);
  if (!more || !last) return metadata;
  return {
    ...metadata,
    continue: encodeContinue({ revision: result.revision, after: last.key }),
    // With a selector, how many follow is not known without looking.
    ...(countable ? { remainingItemCount: result.remaining } : {}),
  };
}

function explainRevision(error: unknown, token: ReturnType<typeof decodeContinue> | undefined): unknown {
  if (error instanceof FutureRevisionError) return resourceVersionTooLarge(error.wanted, error.current);
  if (!(error instanceof CompactedError)) return error;
  if (!token) return expired('The resourceVersion for the provided list is too old.');
  const status = new StatusError(410, 'Expired', TOKEN_EXPIRED);
  status.status.metadata = { continue: encodeContinue({ revision: -1, after: token.after }) };
  return status;
}

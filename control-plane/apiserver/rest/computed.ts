import type { KubeObject } from '../../../src/kube/types.ts';
import type { StoreRecord } from '../../store/store.ts';
import type { ComputedResource } from '../definition.ts';
import type { Exchange } from '../exchange.ts';
import type { OutputFormat } from '../media-type.ts';
import type { RequestInfo } from '../request-info.ts';
import { methodNotAllowed, notFound } from '../status-error.ts';
import { type Api, keyOf, type Served } from './api.ts';
import { sendRecord, sendRecords } from './output.ts';
import { parseSelection } from './selection.ts';

/** GET and LIST of a kind that is worked out when somebody asks. Its objects look like stored ones of this moment. */
export async function handleComputed(
  api: Api,
  served: Served,
  computed: ComputedResource,
  info: RequestInfo,
  exchange: Exchange,
  format: OutputFormat,
): Promise<void> {
  const nowMs = api.clock.nowMs();
  const revision = api.store.revision();
  const record = (object: KubeObject): StoreRecord => ({
    key: keyOf(served, object.metadata.namespace ?? '', object.metadata.name),
    value: served.codec.encode(object),
    revision,
  });
  if (info.verb === 'get') {
    const object = await computed.get(info.namespace, info.name, nowMs);
    if (!object) throw notFound(served.definition, info.name);
    return sendRecord(exchange, served, format, 200, record(object), nowMs);
  }
  if (info.verb !== 'list') throw methodNotAllowed();
  const selection = parseSelection(served.definition, info.namespace, exchange.query);
  const objects = await computed.list(selection.namespace, nowMs);
  const matching = objects.filter((object) => selection.matches?.(object) ?? true);
  await sendRecords(exchange, served, format, matching.map(record), { resourceVersion: String(revision) }, nowMs);
}

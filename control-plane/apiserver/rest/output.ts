import type { StoreRecord } from '../../store/store.ts';
import type { Exchange } from '../exchange.ts';
import { ACCEPTED_MEDIA_TYPES, negotiateOutput, type OutputFormat } from '../media-type.ts';
import { apiVersionOf } from '../registry.ts';
import { notAcceptable } from '../status-error.ts';
import type { Served } from './api.ts';
import { mapInTurns } from './in-turns.ts';
import { includeObject, metadataText, rowText, tableText } from './table.ts';

/** How the client wants the answer; throws 406. `shapes`: Tables and metadata are on offer. */
export function outputFormat(exchange: Exchange, shapes: boolean): OutputFormat {
  const format = negotiateOutput(exchange.header('accept'), shapes);
  if (!format) throw notAcceptable(ACCEPTED_MEDIA_TYPES);
  return format;
}

export interface ListMetadata {
  readonly resourceVersion: string;
  readonly continue?: string;
  readonly remainingItemCount?: number;
}

export async function sendRecord(
  exchange: Exchange,
  served: Served,
  format: OutputFormat,
  code: number,
  record: StoreRecord,
  nowMs: number,
): Promise<void> {
  await exchange.sendJson(code, recordText(exchange, served, format, record, nowMs), format);
}

function recordText(
  exchange: Exchange,
  served: Served,
  format: OutputFormat,
  record: StoreRecord,
  nowMs: number,
): string {
  switch (format.shape) {
    case 'object':
      return served.codec.text(record);
    case 'table': {
      const options = tableOptions(exchange, format, nowMs);
      return tableText(
        served,
        [rowText(served, record, options)],
        { resourceVersion: String(record.revision) },
        options,
      );
    }
    case 'metadata':
    case 'metadataList':
      return metadataText(served.codec.object(record), `meta.k8s.io/${format.metaVersion}`);
  }
}

export async function sendRecords(
  exchange: Exchange,
  served: Served,
  format: OutputFormat,
  records: readonly StoreRecord[],
  metadata: ListMetadata,
  nowMs: number,
): Promise<void> {
  await exchange.sendJson(200, await listText(exchange, served, format, records, metadata, nowMs), format);
}

async function listText(
  exchange: Exchange,
  served: Served,
  format: OutputFormat,
  records: readonly StoreRecord[],
  metadata: ListMetadata,
  nowMs: number,
): Promise<string> {
  const { definition, codec } = served;
  const metaVersion = `meta.k8s.io/${format.metaVersion}`;
  if (format.shape === 'table') {
    const options = tableOptions(exchange, format, nowMs);
    const rows = await mapInTurns(records, (record) => rowText(served, record, options));
    return tableText(served, rows, metadata, options);
  }
  const whole = format.shape === 'object';
  const items = await mapInTurns(records, (record) =>
    whole ? codec.itemText(record) : metadataText(codec.object(record), metaVersion),
  );
  const kind = whole ? `${definition.kind}List` : 'PartialObjectMetadataList';
  const apiVersion = whole ? apiVersionOf(definition) : metaVersion;
  return `{"kind":"${kind}","apiVersion":"${apiVersion}","metadata":${JSON.stringify(metadata)},"items":[${items.join(',')}]}`;
}

const tableOptions = (exchange: Exchange, { metaVersion }: OutputFormat, nowMs: number) => ({
  metaVersion,
  include: includeObject(exchange.query),
  nowMs,
  withColumns: true,
});

import type { KubeObject } from '../../../src/kube/types.ts';
import type { StoreRecord } from '../../store/store.ts';
import type { OutputFormat } from '../media-type.ts';
import { badRequest } from '../status-error.ts';
import type { Served } from './api.ts';

/** How much of each object a Table row carries. */
export type IncludeObject = 'None' | 'Metadata' | 'Object';

/** ?includeObject=; Metadata when absent. */
export function includeObject(query: URLSearchParams): IncludeObject {
  const value = query.get('includeObject') || 'Metadata';
  if (value === 'None' || value === 'Metadata' || value === 'Object') return value;
  throw badRequest(`unrecognized includeObject value: ${JSON.stringify(value)}`);
}

export interface TableOptions {
  readonly metaVersion: OutputFormat['metaVersion'];
  readonly include: IncludeObject;
  readonly nowMs: number;
  /** Watches send the column definitions with their first event only. */
  readonly withColumns: boolean;
}

/** A Table of these rows as JSON text; `metadata` is the list's, or of a single object just its resourceVersion. */
export function tableText(served: Served, rows: readonly string[], metadata: object, options: TableOptions): string {
  const apiVersion = `meta.k8s.io/${options.metaVersion}`;
  const columns = options.withColumns ? columnDefinitions(served) : null;
  return `{"kind":"Table","apiVersion":"${apiVersion}","metadata":${JSON.stringify(metadata)},"columnDefinitions":${JSON.stringify(columns)},"rows":[${rows.join(',')}]}`;
}

function columnDefinitions({ definition }: Served) {
  return definition.columns.map(({ name, type, format, description, priority }) => ({
    name,
    type,
    format: format ?? '',
    description,
    priority,
  }));
}

/** One object's row as JSON text. */
export function rowText(served: Served, record: StoreRecord, options: TableOptions): string {
  const apiVersion = `meta.k8s.io/${options.metaVersion}`;
  const object = served.codec.object(record);
  const cells = served.definition.columns.map((column) => column.cell(object, options.nowMs));
  const shown = rowObject(served, record, object, options, apiVersion);
  return `{"cells":${JSON.stringify(cells)}${shown ? `,"object":${shown}` : ''}}`;
}

function rowObject(
  served: Served,
  record: StoreRecord,
  object: KubeObject,
  options: TableOptions,
  apiVersion: string,
): string | undefined {
  switch (options.include) {
    case 'None':
      return undefined;
    case 'Object':
      return served.codec.text(record);
    case 'Metadata':
      return metadataText(object, apiVersion);
  }
}

/** A PartialObjectMetadata as JSON text. */
export function metadataText(object: KubeObject, apiVersion: string): string {
  return JSON.stringify({ kind: 'PartialObjectMetadata', apiVersion, metadata: object.metadata });
}

import type { KubeObject } from '../../src/kube/types.ts';
import type { StoreRecord } from '../store/store.ts';
import type { ResourceDefinition } from './definition.ts';
import { apiVersionOf } from './registry.ts';

/**
 * Between stored texts and objects.
 *
 * A stored text begins `{"kind":K,"apiVersion":V,"metadata":{` and carries no resourceVersion: the store knows it. So an
 * answer, a list item or a watch line is made by putting strings together; most reads parse nothing and serialise
 * nothing. Objects are parsed at most once per record and then shared: whoever wants to change one takes `copy`.
 */
export interface ObjectCodec<T extends KubeObject = KubeObject> {
  encode(object: T): string;
  /** Shared: never change it. */
  object(record: StoreRecord): T;
  copy(record: StoreRecord): T;
  /** The whole JSON text, with kind and resourceVersion. `revision` is another one for events. */
  text(record: StoreRecord, revision?: number): string;
  /** The same without kind and apiVersion, as items of lists are written. */
  itemText(record: StoreRecord): string;
}

/** Parsed objects, the longest unused first. Bounded: they take several times the memory of their texts. */
const parsed = new Map<StoreRecord, KubeObject>();
const KEPT_OBJECTS = 4_096;

export function createCodec<T extends KubeObject>(definition: ResourceDefinition<T>): ObjectCodec<T> {
  const identity = `"kind":${JSON.stringify(definition.kind)},"apiVersion":${JSON.stringify(apiVersionOf(definition))},`;
  const head = `{${identity}"metadata":{`;

  /** The stored text behind `"metadata":{`. */
  function tail(record: StoreRecord): string {
    if (record.value.startsWith(head)) return record.value.slice(head.length);
    // Written as another version of the kind, or by another program.
    return codec.encode(JSON.parse(record.value) as T).slice(head.length);
  }

  const codec: ObjectCodec<T> = {
    encode(object) {
      const { kind: _kind, apiVersion: _apiVersion, metadata, ...rest } = object;
      const { resourceVersion: _resourceVersion, ...stored } = metadata;
      return JSON.stringify({
        kind: definition.kind,
        apiVersion: apiVersionOf(definition),
        metadata: stored,
        ...rest,
      });
    },
    object(record) {
      const known = parsed.get(record) as T | undefined;
      if (known) parsed.delete(record);
      else if (parsed.size >= KEPT_OBJECTS) parsed.delete(parsed.keys().next().value!);
      const object = known ?? codec.copy(record);
      parsed.set(record, object);
      return object;
    },
    copy(record) {
      const object = JSON.parse(record.value) as T;
      object.metadata.resourceVersion = String(record.revision);
      return object;
    },
    text: (record, revision = record.revision) => `${head}"resourceVersion":"${revision}",${tail(record)}`,
    itemText: (record) => `{"metadata":{"resourceVersion":"${record.revision}",${tail(record)}`,
  };
  return codec;
}

/** The last few lines: one event goes to all its watchers in one turn. Not more, for memory's sake. */
const lines = new Map<string, { record: StoreRecord; line: Buffer }>();
const KEPT_LINES = 32;

/** A watch line as bytes, made once per event however many watchers get it. */
export function eventLine(
  codec: ObjectCodec,
  type: 'ADDED' | 'MODIFIED' | 'DELETED',
  record: StoreRecord,
  revision: number,
): Buffer {
  const key = `${type} ${record.key.resource} ${record.revision} ${revision}`;
  const known = lines.get(key);
  // The same numbers may come from another store in this process.
  if (known?.record === record) return known.line;
  const line = Buffer.from(`{"type":"${type}","object":${codec.text(record, revision)}}\n`);
  if (lines.size >= KEPT_LINES) lines.clear();
  lines.set(key, { record, line });
  return line;
}

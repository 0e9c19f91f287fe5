import type { KubeObject } from '../../src/kube/types.ts';
import type { Exchange } from './exchange.ts';
import { bodyEncoding } from './media-type.ts';
import { apiVersionOf } from './registry.ts';
import { badRequest, StatusError, unsupportedMediaType } from './status-error.ts';

/** Identifies a type of the API. */
export interface TypeName {
  readonly apiVersion: string;
  readonly kind: string;
}

/** What decoding found; `problems` are such as `unknown field "spec.foo"` and `duplicate field "spec.bar"`. */
export interface Decoded {
  readonly object: Record<string, unknown>;
  readonly problems: readonly string[];
}

/** What the server needs of the API schema; the composition root connects it to src/kube/schema. */
export interface SchemaPort {
  /**
   * Reads a body. Values of a wrong type, unreadable text and unknown kinds throw an Error whose message can be shown.
   * A body without apiVersion and kind is read as `expected`.
   */
  decode(bytes: Uint8Array, encoding: 'json' | 'yaml' | 'protobuf', expected: TypeName): Decoded;
  /** Reads the JSON of a patch; problems are `duplicate field "…"`. Throws like `decode`. */
  parsePatch(text: string): { readonly patch: unknown; readonly problems: readonly string[] };
  /** Checks an object that a patch made, as `decode` does with a body. */
  check(object: Record<string, unknown>, type: TypeName): Decoded;
  /** A strategic merge patch by the type's merge keys; `original` is not changed. Throws an Error on a bad directive. */
  strategicMerge(
    original: Record<string, unknown>,
    patch: Record<string, unknown>,
    type: TypeName,
  ): Record<string, unknown>;
}

export type FieldValidation = 'Ignore' | 'Warn' | 'Strict';

/** ?fieldValidation=; Warn when absent. */
export function fieldValidation(query: URLSearchParams): FieldValidation {
  const value = query.get('fieldValidation') || 'Warn';
  if (value === 'Ignore' || value === 'Warn' || value === 'Strict') return value;
  throw badRequest(
    `invalid parameter: fieldValidation: Unsupported value: ${JSON.stringify(value)}: supported values: "Ignore", "Warn", "Strict"`,
  );
}

/** Reads, decodes and checks a body as an object of the type. */
export async function readObject<T extends KubeObject = KubeObject>(
  exchange: Exchange,
  schema: SchemaPort,
  type: { group: string; version: string; kind: string },
  timeoutMs: number,
): Promise<T> {
  const expected = { apiVersion: apiVersionOf(type), kind: type.kind };
  const object = decodeBody(exchange, schema, expected, await exchange.readBody(timeoutMs)) as unknown as T;
  expectType(object, expected);
  object.metadata ??= {} as T['metadata'];
  return object;
}

/** Decodes a body that was read; its problems become what fieldValidation says. The type is not compared. */
export function decodeBody(
  exchange: Exchange,
  schema: SchemaPort,
  expected: TypeName,
  bytes: Buffer,
): Record<string, unknown> {
  const contentType = exchange.header('content-type');
  const encoding = bodyEncoding(contentType);
  if (!encoding)
    throw unsupportedMediaType(
      `the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf (got ${JSON.stringify(contentType)})`,
    );
  const validation = fieldValidation(exchange.query);
  const version = expected.apiVersion.slice(expected.apiVersion.indexOf('/') + 1);
  const cannot = `${expected.kind} in version ${JSON.stringify(version)} cannot be handled as a ${expected.kind}`;
  let decoded: Decoded;
  try {
    decoded = schema.decode(bytes, encoding, expected);
  } catch (error) {
    if (error instanceof StatusError) throw error;
    throw badRequest(`${cannot}: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (decoded.problems.length > 0) {
    if (validation === 'Strict') throw badRequest(`${cannot}: strict decoding error: ${decoded.problems.join(', ')}`);
    if (validation === 'Warn') for (const problem of decoded.problems) exchange.warn(problem);
  }
  return decoded.object;
}

/** A body of another kind than the path's is refused; an empty apiVersion or kind is the path's. */
export function expectType(object: KubeObject, expected: TypeName): void {
  object.apiVersion ||= expected.apiVersion;
  object.kind ||= expected.kind;
  if (object.apiVersion !== expected.apiVersion)
    throw badRequest(
      `the API version in the data (${object.apiVersion}) does not match the expected API version (${expected.apiVersion})`,
    );
  if (object.kind !== expected.kind)
    throw badRequest(
      `${object.kind} in version ${JSON.stringify(expected.apiVersion)} cannot be handled as a ${expected.kind}: the kind in the data does not match the path's`,
    );
}

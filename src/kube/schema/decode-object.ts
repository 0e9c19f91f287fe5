import { coerceObject, joinPath } from './coerce.ts';
import { DecodeError } from './decode-error.ts';
import { type DuplicateKeys, parseJson } from './json-parse.ts';
import { type DecodedObject, decodeProtobuf } from './protobuf.ts';
import { schemaOf } from './tables.ts';
import { parseYaml } from './yaml-parse.ts';

/** The formats in which objects come. */
export type BodyFormat = 'json' | 'yaml' | 'protobuf';

export interface DecodedBody {
  object: DecodedObject;
  /**
   * What was dropped, for fieldValidation=Warn and =Strict: `unknown field "spec.foo"`, `duplicate field "spec.bar"`, and from
   * YAML `line 3: key "a" already set in map`.
   */
  problems: string[];
}

/**
 * Decodes the object in a request's body as the API server does. Unknown and duplicate fields are dropped and reported.
 *
 * @param expected the type that the URL implies: a body may leave its own out.
 * @throws DecodeError (400 BadRequest) when the body is malformed, of an unknown kind, or a value has the wrong type; in the
 * words of Go, to be shown as `Pod in version "v1" cannot be handled as a Pod: …`.
 */
export function decodeObject(
  body: Uint8Array,
  format: BodyFormat,
  expected?: { apiVersion: string; kind: string },
): DecodedBody {
  if (format === 'protobuf') return { object: decodeProtobuf(body, expected), problems: [] };
  const text = Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString('utf8');
  const { value, duplicates, yamlDuplicates } = parseText(text, format);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new DecodeError(`couldn't get version/kind; json parse error: the body is not a JSON object`);
  }
  const { apiVersion, kind } = typeOf(value as Record<string, unknown>, text, expected);
  const schema = schemaOf(apiVersion, kind);
  if (!schema) throw new DecodeError(`no kind "${kind}" is registered for version "${apiVersion}"`);
  const { object, problems } = coerceObject(value, schema, duplicates);
  const { apiVersion: _apiVersion, kind: _kind, ...rest } = object;
  return { object: { apiVersion, kind, ...rest }, problems: [...yamlDuplicates, ...problems] };
}

/**
 * Parses the body of a merge or strategic merge patch.
 *
 * @returns the patch, and `duplicate field "…"` for each key given twice.
 * @throws DecodeError when it is no JSON.
 */
export function parsePatch(text: string): { patch: unknown; problems: string[] } {
  const { value, duplicates } = parseJson(text);
  return { patch: value, problems: duplicates.size === 0 ? [] : duplicateFields(value, duplicates, []) };
}

function duplicateFields(value: unknown, duplicates: DuplicateKeys, path: string[]): string[] {
  if (typeof value !== 'object' || value === null) return [];
  const twice = duplicates.get(value);
  return Object.entries(value).flatMap(([key, item]) => {
    const here = [...path, Array.isArray(value) ? `[${key}]` : key];
    const own = twice?.has(key) ? [`duplicate field ${JSON.stringify(joinPath(here))}`] : [];
    return [...own, ...duplicateFields(item, duplicates, here)];
  });
}

function parseText(
  text: string,
  format: 'json' | 'yaml',
): { value: unknown; duplicates: DuplicateKeys; yamlDuplicates: string[] } {
  // JSON is YAML, and clients do send it under that name; our JSON parser is two orders of magnitude faster.
  if (format === 'json' || /^\s*\{/.test(text)) {
    try {
      return { ...parseJson(text, { exactNumbers: true }), yamlDuplicates: [] };
    } catch (error) {
      if (format === 'json') throw error;
    }
  }
  const { value, duplicates } = parseYaml(text);
  return { value, duplicates: new Map(), yamlDuplicates: duplicates };
}

function typeOf(
  value: Record<string, unknown>,
  text: string,
  expected: { apiVersion: string; kind: string } | undefined,
): { apiVersion: string; kind: string } {
  const apiVersion = value['apiVersion'] || expected?.apiVersion;
  const kind = value['kind'] || expected?.kind;
  if (typeof apiVersion === 'string' && typeof kind === 'string') return { apiVersion, kind };
  const field = typeof kind === 'string' ? 'apiVersion' : 'Kind';
  throw new DecodeError(`Object '${field}' is missing in '${text.length > 256 ? `${text.slice(0, 256)}…` : text}'`);
}

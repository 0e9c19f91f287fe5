import { coerceScalar, describeJson, TypeMismatch } from './coerce-scalar.ts';
import { DecodeError } from './decode-error.ts';
import { type DuplicateKeys, ExactNumber } from './json-parse.ts';
import { type FieldSchema, type ScalarSchema, type StructSchema, structSchema, type TypeSchema } from './tables.ts';
import { withTopLevel } from './top-level.ts';

type Fields = Record<string, unknown>;

/** As many problems as a server reports; beyond, one more says nothing new. */
const maxProblems = 100;

const noDuplicates: DuplicateKeys = new Map();

/**
 * Makes of a parsed JSON value what Go's decoder would make of it, in place: unknown fields and nulls go, empty values that
 * mean unset go, scalars come into their stored form, and a kind's `metadata` and `spec` are there.
 *
 * @param value owned by this call; a JSON tree, numbers may be ExactNumber.
 * @param duplicates what the parser saw, to be reported with the unknown fields.
 * @returns the object and `unknown field "…"` / `duplicate field "…"` problems, in the order of the object.
 * @throws DecodeError when a value has the wrong type, in the words of Go's encoding/json.
 */
export function coerceObject(
  value: unknown,
  schema: StructSchema,
  duplicates: DuplicateKeys = noDuplicates,
): { object: Fields; problems: string[] } {
  const coercion = new Coercion(duplicates);
  const object = coercion.run(value, schema);
  return { object: withTopLevel(object, schema), problems: coercion.problems };
}

class Coercion {
  readonly problems: string[] = [];
  readonly #duplicates: DuplicateKeys;
  /** Of unknown fields: with list indices and map keys. */
  readonly #path: string[] = [];
  /** Of type mismatches: names of struct fields only. */
  readonly #fields: string[] = [];
  /** Above 0 where Go's own decoders read without looking for unknown fields. */
  #lenient = 0;

  constructor(duplicates: DuplicateKeys) {
    this.#duplicates = duplicates;
  }

  run(value: unknown, schema: StructSchema): Fields {
    return this.#value(value, schema, '') as Fields;
  }

  #value(value: unknown, type: TypeSchema, owner: string): unknown {
    switch (type.kind) {
      case 'struct':
        return isFields(value)
          ? this.#struct(value, type)
          : this.#mismatch(new TypeMismatch(describeJson(value), type.goName), owner);
      case 'map':
        return isFields(value)
          ? this.#map(value, type.value, owner)
          : this.#mismatch(new TypeMismatch(describeJson(value), type.goName), owner);
      case 'list':
        return Array.isArray(value)
          ? this.#list(value, type.element, owner)
          : this.#mismatch(new TypeMismatch(describeJson(value), type.goName), owner);
      case 'scalar':
        return this.#scalar(value, type, owner);
    }
  }

  #struct(object: Fields, schema: StructSchema): Fields {
    const twice = this.#duplicates.get(object);
    for (const key of Object.keys(object)) {
      const field = schema.fields.get(key);
      if (!field) {
        this.#report('unknown', key);
        delete object[key];
        continue;
      }
      if (twice?.has(key)) this.#report('duplicate', key);
      const value = object[key];
      if (value === null) {
        delete object[key];
        continue;
      }
      this.#path.push(key);
      this.#fields.push(key);
      const coerced = this.#value(value, field.type, schema.name);
      this.#fields.pop();
      this.#path.pop();
      if (meansUnset(coerced, field)) delete object[key];
      else if (coerced !== value) object[key] = coerced;
    }
    return object;
  }

  #map(map: Fields, type: TypeSchema, owner: string): Fields {
    const twice = this.#duplicates.get(map);
    for (const key of Object.keys(map)) {
      if (twice?.has(key)) this.#report('duplicate', key);
      this.#path.push(key);
      const coerced = map[key] === null ? zeroOf(type) : this.#value(map[key], type, owner);
      this.#path.pop();
      if (coerced !== map[key]) map[key] = coerced;
    }
    return map;
  }

  #list(list: unknown[], type: TypeSchema, owner: string): unknown[] {
    for (let index = 0; index < list.length; index++) {
      this.#path.push(`[${index}]`);
      list[index] = list[index] === null ? zeroOf(type) : this.#value(list[index], type, owner);
      this.#path.pop();
    }
    return list;
  }

  #scalar(value: unknown, type: ScalarSchema, owner: string): unknown {
    if (type.scalar.startsWith('JSONSchemaPropsOr')) return this.#schemaOr(value, type, owner);
    try {
      return coerceScalar(value, type);
    } catch (error) {
      if (error instanceof TypeMismatch) return this.#mismatch(error, owner);
      throw error;
    }
  }

  #schemaOr(value: unknown, type: ScalarSchema, owner: string): unknown {
    const schemaProps = structSchema('apiextensions/v1', 'JSONSchemaProps');
    if (type.scalar === 'JSONSchemaPropsOrBool' && typeof value === 'boolean') return value;
    this.#lenient++;
    const coerced =
      Array.isArray(value) && type.scalar === 'JSONSchemaPropsOrArray'
        ? this.#list(value, schemaProps, owner)
        : Array.isArray(value) && type.scalar === 'JSONSchemaPropsOrStringArray'
          ? this.#list(value, { kind: 'scalar', scalar: 'string', goName: 'string' }, owner)
          : this.#value(value, schemaProps, owner);
    this.#lenient--;
    return coerced;
  }

  #report(what: 'unknown' | 'duplicate', key: string): void {
    if (this.#lenient > 0 || this.problems.length >= maxProblems) return;
    this.problems.push(`${what} field ${JSON.stringify(joinPath([...this.#path, key]))}`);
  }

  #mismatch({ shown, goType }: TypeMismatch, owner: string): never {
    const path = this.#fields.join('.');
    const where = path === '' ? 'Go value' : `Go struct field ${owner}.${path}`;
    throw new DecodeError(`json: cannot unmarshal ${shown} into ${where} of type ${goType}`);
  }
}

/** `['spec', 'containers', '[0]', 'name']` → `spec.containers[0].name`. */
export function joinPath(parts: readonly string[]): string {
  return parts.reduce(
    (path, part) => (path === '' ? part : part.startsWith('[') ? path + part : `${path}.${part}`),
    '',
  );
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof ExactNumber);
}

/** Go has no "absent" beside the zero value, except behind a pointer: its JSON leaves zeros out where `omitempty` says so. */
function meansUnset(value: unknown, { pointer, omitEmpty, type }: FieldSchema): boolean {
  if (pointer || !omitEmpty) return false;
  if (type.kind === 'list') return (value as unknown[]).length === 0;
  if (type.kind === 'map') return Object.keys(value as object).length === 0;
  return value === '' || value === 0 || value === false;
}

function zeroOf(type: TypeSchema): unknown {
  if (type.kind === 'struct') return {};
  if (type.kind !== 'scalar') return null;
  if (type.scalar === 'bool') return false;
  if (type.scalar === 'string' || type.scalar === 'bytes') return '';
  if (type.scalar === 'Quantity') return '0';
  return type.scalar === 'int32' || type.scalar === 'int64' || type.scalar === 'double' || type.scalar === 'IntOrString'
    ? 0
    : null;
}

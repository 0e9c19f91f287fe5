import { type Integer, renderInt, renderUint } from './bytes.ts';
import { FIRST_DEFINED_ID, TYPE_ID } from './definitions.ts';

/** Types that we send. One object is one type of a stream. */
export type GobSchema = 'int' | 'uint' | 'string' | 'bytes' | DefinedSchema;

type DefinedSchema = SliceSchema | StructSchema;

interface SliceSchema {
  elements: GobSchema;
}

export interface StructSchema {
  name: string;
  fields: Readonly<Record<string, GobSchema>>;
}

/** What fits a schema: lists for slices, objects for structs, whose absent fields have the zero value. */
export type Sendable = Integer | string | Uint8Array | readonly Sendable[] | SendableStruct;

export interface SendableStruct {
  readonly [field: string]: Sendable | undefined;
}

/** Writes one stream of Go's encoding/gob (`decoder.ts` has its shape). */
export interface GobEncoder {
  /** The value's message, behind those that define what of its type the stream has not seen yet. @throws TypeError. */
  encode(schema: GobSchema, value: Sendable): Buffer;
}

const END = Buffer.from([0]);
const NOT_ARRAY = false;
const NOT_SLICE = false;

export function createGobEncoder(): GobEncoder {
  const ids = new Map<DefinedSchema, number>();
  const undefinedYet: DefinedSchema[] = [];

  function idOf(schema: GobSchema): number {
    if (typeof schema === 'string') return TYPE_ID[schema];
    const known = ids.get(schema);
    if (known !== undefined) return known;
    const id = FIRST_DEFINED_ID + 1 + ids.size;
    ids.set(schema, id);
    undefinedYet.push(schema);
    return id;
  }

  /** Of wireType, where one field says which kind it is. */
  function renderDefinition(schema: DefinedSchema): Buffer {
    const common = renderStruct([isStruct(schema) && renderText(schema.name), renderInt(idOf(schema))]);
    if (!isStruct(schema)) {
      const slice = renderStruct([common, renderInt(idOf(schema.elements))]);
      return renderStruct([NOT_ARRAY, slice]);
    }
    const fields = Object.entries(schema.fields).map(([name, type]) =>
      renderStruct([renderText(name), renderInt(idOf(type))]),
    );
    const struct = renderStruct([common, fields.length > 0 && renderList(fields)]);
    return renderStruct([NOT_ARRAY, NOT_SLICE, struct]);
  }

  return {
    encode(schema, value) {
      const id = idOf(schema);
      const messages: Buffer[] = [];
      // A definition may name types that are defined behind it.
      for (let one = undefinedYet.shift(); one; one = undefinedYet.shift())
        messages.push(delimited(renderInt(-idOf(one)), renderDefinition(one)));
      const body = renderValue(schema, value);
      return Buffer.concat([
        ...messages,
        isStruct(schema) ? delimited(renderInt(id), body) : delimited(renderInt(id), END, body),
      ]);
    },
  };
}

function renderValue(schema: GobSchema, value: Sendable): Buffer {
  switch (schema) {
    case 'int':
      return renderInt(value as Integer);
    case 'uint':
      return renderUint(value as Integer);
    case 'string':
      return renderText(value as string);
    case 'bytes':
      return renderBytes(value as Uint8Array);
  }
  if (!isStruct(schema))
    return renderList((value as readonly Sendable[]).map((one) => renderValue(schema.elements, one)));
  return renderStruct(
    Object.entries(schema.fields).map(([name, type]) => {
      const field = (value as SendableStruct)[name];
      return field !== undefined && !isZero(field) && renderValue(type, field);
    }),
  );
}

/** Fields in order; those that are false have the zero value, which is not sent. Each is told by how far its number is from the last one's. */
function renderStruct(fields: readonly (Buffer | false)[]): Buffer {
  const parts: Buffer[] = [];
  let last = -1;
  fields.forEach((field, number) => {
    if (!field) return;
    parts.push(renderUint(number - last), field);
    last = number;
  });
  return Buffer.concat([...parts, END]);
}

const isStruct = (schema: GobSchema): schema is StructSchema => typeof schema === 'object' && 'fields' in schema;
const isZero = (value: Sendable) =>
  value === 0 || value === 0n || (typeof value === 'object' && 'length' in value ? value.length === 0 : value === '');
const renderText = (text: string) => renderBytes(Buffer.from(text));
const renderBytes = (bytes: Uint8Array) => Buffer.concat([renderUint(bytes.length), bytes]);
const renderList = (elements: readonly Buffer[]) => Buffer.concat([renderUint(elements.length), ...elements]);

function delimited(...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([renderUint(body.length), body]);
}

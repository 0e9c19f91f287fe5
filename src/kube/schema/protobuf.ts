import { DecodeError } from './decode-error.ts';
import {
  type FieldSchema,
  type ScalarName,
  type StructSchema,
  schemaOf,
  structSchema,
  type TypeSchema,
} from './tables.ts';
import { formatDuration, formatTime } from './time-format.ts';
import { withTopLevel } from './top-level.ts';
import { WireReader, wireType } from './wire-reader.ts';

/** An object as JSON has it, with its type at the top. */
export interface DecodedObject {
  apiVersion: string;
  kind: string;
  [field: string]: unknown;
}

const magic = Buffer.from('k8s\0');
const maxDepth = 200;

/** Whether a body begins as Kubernetes' protobuf envelope does. */
export function isProtobuf(body: Uint8Array): boolean {
  return body.length >= magic.length && magic.every((byte, index) => body[index] === byte);
}

/**
 * Decodes `application/vnd.kubernetes.protobuf`: the four bytes `k8s\0`, then runtime.Unknown with the type and the object.
 * The result is the JSON object that the same Go client would have sent, without nulls and without optional empty structs:
 * fields that are not pointers are always on the wire, so their zero values mean unset; pointers keep explicit zeros.
 *
 * @param expected the type for a body that names none.
 * @throws DecodeError when the bytes are no such envelope, are cut short, or the kind is not registered.
 */
export function decodeProtobuf(body: Uint8Array, expected?: { apiVersion: string; kind: string }): DecodedObject {
  if (!isProtobuf(body))
    throw new DecodeError('provided data does not appear to be a protobuf message, expected prefix "k8s\\0"');
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  const envelope = readFields(new WireReader(bytes, magic.length, bytes.length));
  const typeMeta = envelope.get(1) ? readFields(envelope.get(1)!) : new Map<number, WireReader>();
  const apiVersion = readText(typeMeta.get(1)) || (expected?.apiVersion ?? '');
  const kind = readText(typeMeta.get(2)) || (expected?.kind ?? '');
  const raw = envelope.get(2) ?? new WireReader(bytes, 0, 0);
  const encoding = readText(envelope.get(3));
  if (encoding !== '') throw new DecodeError(`protobuf envelope: contentEncoding "${encoding}" is not supported`);
  if (readText(envelope.get(4)) === 'application/json') return parseJsonBytes(raw) as DecodedObject;
  const schema = schemaOf(apiVersion, kind);
  if (!schema) throw new DecodeError(`no kind "${kind}" is registered for version "${apiVersion}"`);
  return { apiVersion, kind, ...withTopLevel(decodeStruct(raw, schema, {}, 0), schema) };
}

/** The length-delimited fields of a small message by number. */
function readFields(reader: WireReader): Map<number, WireReader> {
  const fields = new Map<number, WireReader>();
  while (!reader.done) {
    const tag = reader.varint();
    if ((tag & 7) === wireType.bytes) fields.set(tag >>> 3, reader.message());
    else reader.skip(tag & 7);
  }
  return fields;
}

function readText(reader: WireReader | undefined): string {
  return reader ? reader.bytes.toString('utf8', reader.position, reader.end) : '';
}

function decodeStruct(
  reader: WireReader,
  schema: StructSchema,
  target: Record<string, unknown>,
  depth: number,
): Record<string, unknown> {
  if (depth > maxDepth) throw new DecodeError(`proto: ${schema.name} is nested deeper than ${maxDepth} levels`);
  while (!reader.done) {
    const tag = reader.varint();
    const field = schema.wire.get(tag >>> 3);
    if (!field) reader.skip(tag & 7);
    else if (field.inline && field.type.kind === 'struct')
      decodeStruct(reader.message(), field.type, target, depth + 1);
    else decodeField(reader, tag & 7, field, target, depth + 1);
  }
  return target;
}

function decodeField(
  reader: WireReader,
  wire: number,
  field: FieldSchema,
  target: Record<string, unknown>,
  depth: number,
): void {
  const { name, type } = field;
  if (type.kind === 'list' && !type.wrapped) {
    const list = (target[name] as unknown[] | undefined) ?? [];
    target[name] = list;
    if (wire === wireType.bytes && isNumeric(type.element)) {
      const packed = reader.message();
      while (!packed.done) list.push(decodeNumber(packed, type.element));
    } else list.push(decodeValue(reader, wire, type.element, undefined, depth));
  } else if (type.kind === 'map') {
    const map = (target[name] as Record<string, unknown> | undefined) ?? {};
    target[name] = map;
    const [key, value] = decodeEntry(reader.message(), type.value, depth);
    Object.defineProperty(map, key, { value, writable: true, enumerable: true, configurable: true });
  } else {
    const value = decodeValue(reader, wire, type, target[name], depth);
    if (value !== undefined && (field.pointer || !field.optional || !isZero(value))) target[name] = value;
  }
}

function decodeEntry(reader: WireReader, valueType: TypeSchema, depth: number): [key: string, value: unknown] {
  let key = '';
  let value: unknown;
  while (!reader.done) {
    const tag = reader.varint();
    if (tag >>> 3 === 1) key = reader.text();
    else if (tag >>> 3 === 2) value = decodeValue(reader, tag & 7, valueType, undefined, depth);
    else reader.skip(tag & 7);
  }
  return [key, value ?? zeroOf(valueType)];
}

function decodeValue(reader: WireReader, wire: number, type: TypeSchema, present: unknown, depth: number): unknown {
  if (type.kind === 'struct') {
    return decodeStruct(reader.message(), type, (present as Record<string, unknown> | undefined) ?? {}, depth);
  }
  if (type.kind === 'list') return decodeWrapped(reader.message(), type.element, depth);
  if (type.kind === 'map') throw new DecodeError('proto: a map of maps has no wire form');
  if (wire === wireType.fixed64) return reader.double();
  if (wire === wireType.varint) return decodeNumber(reader, type);
  if (wire !== wireType.bytes) {
    reader.skip(wire);
    return undefined;
  }
  if (type.scalar === 'string') return reader.text();
  if (type.scalar === 'bytes') return reader.base64();
  return decodeSpecial(reader.message(), type.scalar, depth);
}

function decodeNumber(reader: WireReader, type: TypeSchema): number | boolean {
  const value = reader.varint();
  return type.kind === 'scalar' && type.scalar === 'bool' ? value !== 0 : value;
}

function decodeWrapped(reader: WireReader, element: TypeSchema, depth: number): unknown[] {
  const items: unknown[] = [];
  while (!reader.done) {
    const tag = reader.varint();
    if (tag >>> 3 === 1) items.push(decodeValue(reader, tag & 7, element, undefined, depth));
    else reader.skip(tag & 7);
  }
  return items;
}

/** Messages whose JSON form is not an object of their fields. Undefined means unset. */
function decodeSpecial(reader: WireReader, scalar: ScalarName, depth: number): unknown {
  const empty = reader.done;
  switch (scalar) {
    case 'Quantity':
      return readText(readFields(reader).get(1)) || undefined;
    case 'Time':
    case 'MicroTime': {
      if (empty) return undefined;
      const { numbers } = readMixed(reader);
      const nanoseconds = numbers.get(2) ?? 0;
      return formatTime(numbers.get(1) ?? 0, scalar === 'Time' ? undefined : Math.floor(nanoseconds / 1000));
    }
    case 'Duration':
      return formatDuration(readMixed(reader).numbers.get(1) ?? 0);
    case 'IntOrString': {
      const { numbers, messages } = readMixed(reader);
      return numbers.get(1) === 1 ? readText(messages.get(3)?.[0]) : (numbers.get(2) ?? 0);
    }
    case 'FieldsV1':
    case 'JSON':
    case 'any':
      return parseRaw(readFields(reader).get(1));
    case 'RawExtension': {
      const raw = readFields(reader).get(1);
      const bytes = raw?.bytes.subarray(raw.position, raw.end);
      return bytes && isProtobuf(bytes) ? decodeProtobuf(bytes) : parseRaw(raw);
    }
    default:
      return decodeSchemaOr(readMixed(reader), scalar, depth);
  }
}

/** JSONSchemaPropsOr…: the schema in field 1 (with a boolean: 2), the other form in the other field. */
function decodeSchemaOr({ numbers, messages }: Mixed, scalar: ScalarName, depth: number): unknown {
  const schemaProps = structSchema('apiextensions/v1', 'JSONSchemaProps');
  const decode = (reader: WireReader): unknown => decodeStruct(reader, schemaProps, {}, depth + 1);
  if (scalar === 'JSONSchemaPropsOrBool') {
    const schema = messages.get(2)?.[0];
    return schema ? decode(schema) : numbers.get(1) === 1;
  }
  const schema = messages.get(1)?.[0];
  if (schema) return decode(schema);
  const others = messages.get(2) ?? [];
  return scalar === 'JSONSchemaPropsOrArray' ? others.map(decode) : others.map((reader) => readText(reader));
}

interface Mixed {
  numbers: Map<number, number>;
  messages: Map<number, WireReader[]>;
}

function readMixed(reader: WireReader): Mixed {
  const mixed: Mixed = { numbers: new Map(), messages: new Map() };
  while (!reader.done) {
    const tag = reader.varint();
    const number = tag >>> 3;
    if ((tag & 7) === wireType.varint) mixed.numbers.set(number, reader.varint());
    else if ((tag & 7) === wireType.bytes)
      mixed.messages.set(number, [...(mixed.messages.get(number) ?? []), reader.message()]);
    else reader.skip(tag & 7);
  }
  return mixed;
}

function parseRaw(reader: WireReader | undefined): unknown {
  return reader && !reader.done ? parseJsonBytes(reader) : undefined;
}

function parseJsonBytes(reader: WireReader): unknown {
  try {
    return JSON.parse(readText(reader)) as unknown;
  } catch (error) {
    throw new DecodeError(`raw JSON within protobuf: ${(error as Error).message}`);
  }
}

function isNumeric(type: TypeSchema): boolean {
  return type.kind === 'scalar' && (type.scalar === 'int32' || type.scalar === 'int64' || type.scalar === 'bool');
}

function isZero(value: unknown): boolean {
  if (typeof value === 'object' && value !== null) return Object.keys(value).length === 0;
  return value === '' || value === 0 || value === false;
}

function zeroOf(type: TypeSchema): unknown {
  if (type.kind === 'struct' || type.kind === 'map') return {};
  if (type.kind === 'list') return [];
  if (type.scalar === 'Quantity') return '0';
  if (type.scalar === 'bool') return false;
  return isNumeric(type) || type.scalar === 'double' || type.scalar === 'IntOrString' ? 0 : '';
}

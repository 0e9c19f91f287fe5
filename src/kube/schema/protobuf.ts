import { DecodeError } from './decode-error.ts';
import { decodeSpecial, type MessageDecoders } from './protobuf-special.ts';
import { type FieldSchema, type StructSchema, schemaOf, type TypeSchema } from './tables.ts';
import { withTopLevel } from './top-level.ts';
import { messageFields, messageText, WireReader, wireType } from './wire-reader.ts';

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
  return decodeEnvelope(body, expected, 0);
}

function decodeEnvelope(
  body: Uint8Array,
  expected: { apiVersion: string; kind: string } | undefined,
  depth: number,
): DecodedObject {
  if (!isProtobuf(body)) {
    throw new DecodeError('provided data does not appear to be a protobuf message, expected prefix "k8s\\0"');
  }
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  const envelope = messageFields(new WireReader(bytes, magic.length, bytes.length));
  const typeMeta = messageFields(envelope.get(1) ?? new WireReader(bytes, 0, 0));
  const apiVersion = messageText(typeMeta.get(1)) || (expected?.apiVersion ?? '');
  const kind = messageText(typeMeta.get(2)) || (expected?.kind ?? '');
  const raw = envelope.get(2) ?? new WireReader(bytes, 0, 0);
  const encoding = messageText(envelope.get(3));
  if (encoding !== '') throw new DecodeError(`protobuf envelope: contentEncoding "${encoding}" is not supported`);
  const schema = schemaOf(apiVersion, kind);
  if (!schema) throw new DecodeError(`no kind "${kind}" is registered for version "${apiVersion}"`);
  return { apiVersion, kind, ...withTopLevel(decodeStruct(raw, schema, {}, depth), schema) };
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
    if (!field) {
      reader.skip(tag & 7);
      continue;
    }
    const packed = (tag & 7) === wireType.bytes && field.type.kind === 'list' && isNumeric(field.type.element);
    if (!packed && (tag & 7) !== wireTypeOf(field.type)) {
      throw new DecodeError(`proto: wrong wireType = ${tag & 7} for field ${schema.name}.${field.name}`);
    }
    if (field.inline && field.type.kind === 'struct') decodeStruct(reader.message(), field.type, target, depth + 1);
    else decodeField(reader, packed, field, target, depth + 1);
  }
  return target;
}

function decodeField(
  reader: WireReader,
  packed: boolean,
  field: FieldSchema,
  target: Record<string, unknown>,
  depth: number,
): void {
  const { name, type } = field;
  if (type.kind === 'list' && !type.wrapped) {
    const list = (target[name] as unknown[] | undefined) ?? [];
    target[name] = list;
    const values = packed ? reader.message() : undefined;
    while (values && !values.done) list.push(decodeValue(values, type.element, undefined, depth));
    if (!values) list.push(decodeValue(reader, type.element, undefined, depth) ?? zeroOf(type.element));
  } else if (type.kind === 'map') {
    const map = (target[name] as Record<string, unknown> | undefined) ?? {};
    target[name] = map;
    const [key, value] = decodeEntry(reader.message(), type.value, depth);
    Object.defineProperty(map, key, { value, writable: true, enumerable: true, configurable: true });
  } else {
    const value = decodeValue(reader, type, target[name], depth);
    if (value !== undefined && (field.pointer || !field.optional || !isZero(value))) target[name] = value;
  }
}

function decodeEntry(reader: WireReader, valueType: TypeSchema, depth: number): [key: string, value: unknown] {
  let key = '';
  let value: unknown;
  while (!reader.done) {
    const tag = reader.varint();
    if (tag === 0x0a) key = reader.text();
    else if (tag >>> 3 === 2 && (tag & 7) === wireTypeOf(valueType))
      value = decodeValue(reader, valueType, undefined, depth);
    else reader.skip(tag & 7);
  }
  return [key, value ?? zeroOf(valueType)];
}

/** The value that comes next, which has the wire type of `type`. Undefined means unset. */
function decodeValue(reader: WireReader, type: TypeSchema, present: unknown, depth: number): unknown {
  if (type.kind === 'struct') {
    return decodeStruct(reader.message(), type, (present as Record<string, unknown> | undefined) ?? {}, depth);
  }
  if (type.kind === 'list') return decodeWrapped(reader.message(), type.element, depth);
  if (type.kind === 'map') throw new DecodeError('proto: a map of maps has no wire form');
  switch (type.scalar) {
    case 'bool':
      return reader.varint() !== 0;
    case 'int32':
      return reader.varint() | 0;
    case 'int64':
      return reader.varint();
    case 'double':
      return reader.double();
    case 'string':
      return reader.text();
    case 'bytes':
      return reader.base64();
    default: {
      const decoders: MessageDecoders = {
        struct: (message, schema) => decodeStruct(message, schema, {}, depth + 1),
        envelope: (bytes) => (isProtobuf(bytes) ? decodeEnvelope(bytes, undefined, depth + 1) : undefined),
      };
      return decodeSpecial(reader.message(), type.scalar, decoders);
    }
  }
}

function wireTypeOf(type: TypeSchema): number {
  if (type.kind === 'list' && !type.wrapped) return wireTypeOf(type.element);
  if (isNumeric(type)) return wireType.varint;
  return type.kind === 'scalar' && type.scalar === 'double' ? wireType.fixed64 : wireType.bytes;
}

function decodeWrapped(reader: WireReader, element: TypeSchema, depth: number): unknown[] {
  const items: unknown[] = [];
  while (!reader.done) {
    const tag = reader.varint();
    if (tag === ((1 << 3) | wireTypeOf(element))) items.push(decodeValue(reader, element, undefined, depth));
    else reader.skip(tag & 7);
  }
  return items;
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

/** The Go client's side of the protobuf wire, from the same tables; the tables themselves are checked by kubectl's own bodies. */
import {
  type FieldSchema,
  type StructSchema,
  schemaOf,
  structSchema,
  type TypeSchema,
} from '../../../../../src/kube/schema/tables.ts';

/** `k8s\0`, runtime.Unknown, and `raw` in it. */
export function encodeEnvelope(apiVersion: string, kind: string, raw: Uint8Array): Buffer {
  const typeMeta = Buffer.concat([bytesField(1, Buffer.from(apiVersion)), bytesField(2, Buffer.from(kind))]);
  return Buffer.concat([
    Buffer.from('k8s\0'),
    bytesField(1, typeMeta),
    bytesField(2, raw),
    bytesField(3, Buffer.alloc(0)),
  ]);
}

/** Encodes a JSON object with apiVersion and kind. */
export function encodeObject(object: Record<string, unknown>): Buffer {
  const { apiVersion, kind, ...rest } = object as { apiVersion: string; kind: string };
  return encodeEnvelope(apiVersion, kind, encodeStruct(rest, schemaOf(apiVersion, kind)!));
}

function encodeStruct(value: Record<string, unknown>, schema: StructSchema): Buffer {
  const parts: Buffer[] = [];
  for (const field of schema.wire.values()) {
    if (field.inline) parts.push(bytesField(field.number, encodeStruct(value, field.type as StructSchema)));
    else if (value[field.name] !== undefined) parts.push(...encodeField(value[field.name], field));
  }
  return Buffer.concat(parts);
}

function encodeField(value: unknown, { number, type }: FieldSchema): Buffer[] {
  if (type.kind === 'list' && !type.wrapped)
    return (value as unknown[]).map((item) => encodeValue(number, item, type.element));
  if (type.kind === 'map') {
    return Object.entries(value as object).map(([key, item]) =>
      bytesField(number, Buffer.concat([bytesField(1, Buffer.from(key)), encodeValue(2, item, type.value)])),
    );
  }
  return [encodeValue(number, value, type)];
}

function encodeValue(number: number, value: unknown, type: TypeSchema): Buffer {
  if (type.kind === 'struct') return bytesField(number, encodeStruct(value as Record<string, unknown>, type));
  if (type.kind === 'list')
    return bytesField(number, Buffer.concat((value as unknown[]).map((item) => encodeValue(1, item, type.element))));
  if (type.kind === 'map') throw new Error('a map of maps');
  const json = Buffer.from(JSON.stringify(value));
  switch (type.scalar) {
    case 'string':
      return bytesField(number, Buffer.from(value as string));
    case 'bytes':
      return bytesField(number, Buffer.from(value as string, 'base64'));
    case 'bool':
    case 'int32':
    case 'int64':
      return Buffer.concat([varint(number << 3), varint(Number(value))]);
    case 'double': {
      const double = Buffer.alloc(8);
      double.writeDoubleLE(value as number);
      return Buffer.concat([varint((number << 3) | 1), double]);
    }
    case 'Quantity':
      return bytesField(number, bytesField(1, Buffer.from(value as string)));
    case 'Time':
    case 'MicroTime': {
      const [, fraction = '0'] = /\.(\d{6})Z/.exec(value as string) ?? [];
      const seconds = Math.floor(Date.parse(value as string) / 1000);
      return bytesField(
        number,
        Buffer.concat([varint(8), varint(seconds), varint(16), varint(Number(fraction) * 1000)]),
      );
    }
    case 'Duration':
      return bytesField(
        number,
        Buffer.concat([varint(8), varint(Number.parseInt(value as string, 10) * 1_000_000_000)]),
      );
    case 'IntOrString':
      return bytesField(
        number,
        typeof value === 'number'
          ? Buffer.concat([varint(8), varint(0), varint(16), varint(value), bytesField(3, Buffer.alloc(0))])
          : Buffer.concat([varint(8), varint(1), varint(16), varint(0), bytesField(3, Buffer.from(value as string))]),
      );
    case 'JSONSchemaPropsOrArray':
    case 'JSONSchemaPropsOrStringArray':
    case 'JSONSchemaPropsOrBool':
      return bytesField(number, encodeSchemaOr(value, type.scalar));
    default:
      return bytesField(number, bytesField(1, json));
  }
}

function encodeSchemaOr(value: unknown, scalar: string): Buffer {
  const schemaProps = structSchema('apiextensions/v1', 'JSONSchemaProps');
  const encoded = (item: unknown): Buffer => encodeStruct(item as Record<string, unknown>, schemaProps);
  if (typeof value === 'boolean') return Buffer.concat([varint(8), varint(Number(value))]);
  if (!Array.isArray(value)) return bytesField(scalar === 'JSONSchemaPropsOrBool' ? 2 : 1, encoded(value));
  return Buffer.concat(
    value.map((item) => bytesField(2, typeof item === 'string' ? Buffer.from(item) : encoded(item))),
  );
}

function bytesField(number: number, bytes: Uint8Array): Buffer {
  return Buffer.concat([varint((number << 3) | 2), varint(bytes.length), bytes]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value) > 2n ** 63n - 1n ? 2n ** 63n - 1n : BigInt(value));
  do {
    bytes.push(Number(rest & 0x7fn) | (rest > 0x7fn ? 0x80 : 0));
    rest >>= 7n;
  } while (rest > 0n);
  return Buffer.from(bytes);
}

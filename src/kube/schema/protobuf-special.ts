import { canonicalQuantity } from '../quantity.ts';
import { DecodeError } from './decode-error.ts';
import { type ScalarName, type StructSchema, structSchema } from './tables.ts';
import { formatDuration, formatTime } from './time-format.ts';
import { messageFields, messageText, type WireReader, wireType } from './wire-reader.ts';

/** How messages within a special message are decoded. */
export interface MessageDecoders {
  struct(reader: WireReader, schema: StructSchema): Record<string, unknown>;
  /** Undefined when the bytes are no `k8s\0` envelope. */
  envelope(bytes: Uint8Array): Record<string, unknown> | undefined;
}

/** Messages whose JSON form is not an object of their fields. Undefined means unset. */
export function decodeSpecial(reader: WireReader, scalar: ScalarName, decoders: MessageDecoders): unknown {
  const empty = reader.done;
  switch (scalar) {
    case 'Quantity':
      return decodeQuantity(messageText(messageFields(reader).get(1)));
    case 'Time':
    case 'MicroTime': {
      if (empty) return undefined;
      const { numbers } = readMixed(reader);
      return decodeTime(numbers.get(1) ?? 0, scalar === 'Time' ? undefined : (numbers.get(2) ?? 0));
    }
    case 'Duration':
      return formatDuration(readMixed(reader).numbers.get(1) ?? 0);
    case 'IntOrString': {
      const { numbers, messages } = readMixed(reader);
      return numbers.get(1) === 1 ? messageText(messages.get(3)?.[0]) : (numbers.get(2) ?? 0) | 0;
    }
    case 'FieldsV1':
    case 'JSON':
    case 'any':
      return parseRaw(messageFields(reader).get(1));
    case 'RawExtension': {
      const raw = messageFields(reader).get(1);
      return raw && (decoders.envelope(raw.bytes.subarray(raw.position, raw.end)) ?? parseRaw(raw));
    }
    default:
      return decodeSchemaOr(readMixed(reader), scalar, decoders);
  }
}

/** JSONSchemaPropsOr…: the schema in field 1 (with a boolean: 2), the other form in the other field. */
function decodeSchemaOr({ numbers, messages }: Mixed, scalar: ScalarName, decoders: MessageDecoders): unknown {
  const schemaProps = structSchema('apiextensions/v1', 'JSONSchemaProps');
  const decode = (reader: WireReader): unknown => decoders.struct(reader, schemaProps);
  if (scalar === 'JSONSchemaPropsOrBool') {
    const schema = messages.get(2)?.[0];
    return schema ? decode(schema) : numbers.get(1) === 1;
  }
  const schema = messages.get(1)?.[0];
  if (schema) return decode(schema);
  const others = messages.get(2) ?? [];
  return scalar === 'JSONSchemaPropsOrArray' ? others.map(decode) : others.map((reader) => messageText(reader));
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
    else if ((tag & 7) === wireType.bytes) addMessage(mixed, number, reader.message());
    else reader.skip(tag & 7);
  }
  return mixed;
}

function parseRaw(reader: WireReader | undefined): unknown {
  return reader && !reader.done ? parseJsonBytes(reader) : undefined;
}

function parseJsonBytes(reader: WireReader): unknown {
  try {
    return JSON.parse(messageText(reader)) as unknown;
  } catch (error) {
    throw new DecodeError(`raw JSON within protobuf: ${(error as Error).message}`);
  }
}

function addMessage({ messages }: Mixed, number: number, message: WireReader): void {
  const list = messages.get(number);
  if (list) list.push(message);
  else messages.set(number, [message]);
}

function decodeQuantity(text: string): string | undefined {
  if (text === '') return undefined;
  try {
    return canonicalQuantity(text);
  } catch (error) {
    throw new DecodeError((error as Error).message, { cause: error });
  }
}

const firstSecond = Date.parse('0001-01-01T00:00:00Z') / 1000;
const lastSecond = Date.UTC(9999, 11, 31, 23, 59, 59) / 1000;

function decodeTime(unixSeconds: number, nanoseconds: number | undefined): string {
  if (unixSeconds < firstSecond || unixSeconds > lastSecond) {
    throw new DecodeError(`Time.UnmarshalJSON: year outside of range [0,9999]: ${unixSeconds} s since 1970`);
  }
  return formatTime(unixSeconds, nanoseconds === undefined ? undefined : Math.floor(nanoseconds / 1000) % 1_000_000);
}

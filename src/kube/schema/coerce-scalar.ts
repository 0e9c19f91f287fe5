import { canonicalQuantity } from '../quantity.ts';
import { DecodeError } from './decode-error.ts';
import { ExactNumber } from './json-parse.ts';
import type { ScalarSchema } from './tables.ts';
import { canonicalTime, isDuration } from './time-format.ts';

/** A JSON value of the wrong type; `shown` is how Go names the value. */
export class TypeMismatch extends Error {
  readonly shown: string;
  readonly goType: string;

  constructor(shown: string, goType: string) {
    super(`cannot unmarshal ${shown} into ${goType}`);
    this.shown = shown;
    this.goType = goType;
  }
}

/** Go's word for the type of a JSON value. */
export function describeJson(value: unknown): string {
  if (typeof value === 'boolean') return 'bool';
  if (typeof value === 'number' || value instanceof ExactNumber) return 'number';
  if (typeof value === 'string') return 'string';
  return Array.isArray(value) ? 'array' : 'object';
}

/** Brings a JSON value into the form in which Kubernetes stores the type: canonical quantity, UTC times, checked ranges. */
export function coerceScalar(value: unknown, type: ScalarSchema): unknown {
  switch (type.scalar) {
    case 'string':
      if (typeof value === 'string') return value;
      break;
    case 'bool':
      if (typeof value === 'boolean') return value;
      break;
    case 'int32':
    case 'int64':
      if (typeof value === 'number' || value instanceof ExactNumber) return coerceInteger(value, type);
      break;
    case 'double':
      if (typeof value === 'number') return value;
      if (value instanceof ExactNumber) return coerceDouble(value, type);
      break;
    case 'IntOrString':
      if (typeof value === 'string') return value;
      return coerceInteger(value, { ...type, scalar: 'int32', goName: 'int32' });
    case 'Quantity':
      return coerceQuantity(value);
    case 'Time':
    case 'MicroTime':
      if (typeof value === 'string') return coerceTime(value, type.scalar === 'Time' ? 'seconds' : 'microseconds');
      throw new TypeMismatch(describeJson(value), 'string');
    case 'Duration':
      if (typeof value === 'string' && isDuration(value)) return value;
      if (typeof value === 'string') throw new DecodeError(`time: invalid duration ${JSON.stringify(value)}`);
      break;
    case 'bytes':
      if (typeof value === 'string') return coerceBase64(value);
      break;
    case 'FieldsV1':
      if (describeJson(value) === 'object') return withPlainNumbers(value);
      break;
    default:
      return withPlainNumbers(value);
  }
  throw new TypeMismatch(describeJson(value), type.goName);
}

/** The value with every {@link ExactNumber} as the nearest number: where no schema says what a number is. */
export function withPlainNumbers(value: unknown): unknown {
  if (value instanceof ExactNumber) return Number(value.text);
  if (Array.isArray(value)) return value.map(withPlainNumbers);
  if (typeof value !== 'object' || value === null) return value;
  const object = value as Record<string, unknown>;
  for (const [key, item] of Object.entries(object)) {
    const plain = withPlainNumbers(item);
    if (plain !== item) object[key] = plain;
  }
  return object;
}

const limits = { int32: [-(2 ** 31), 2 ** 31 - 1], int64: [-(2 ** 63), 2 ** 63 - 1024] } as const;

function coerceInteger(value: unknown, { scalar, goName }: ScalarSchema): number {
  const [least, largest] = limits[scalar as 'int32' | 'int64'];
  if (value instanceof ExactNumber) {
    const fits =
      scalar === 'int64' && /^-?\d+$/.test(value.text) && BigInt.asIntN(64, BigInt(value.text)) === BigInt(value.text);
    if (!fits) throw new TypeMismatch(`number ${value.text}`, goName);
    return Math.min(Number(value.text), largest);
  }
  if (typeof value !== 'number') throw new TypeMismatch(describeJson(value), goName);
  if (!Number.isInteger(value) || value < least || value > largest) throw new TypeMismatch(`number ${value}`, goName);
  return value;
}

function coerceDouble({ text }: ExactNumber, { goName }: ScalarSchema): number {
  const value = Number(text);
  if (!Number.isFinite(value)) throw new TypeMismatch(`number ${text}`, goName);
  return value;
}

function coerceQuantity(value: unknown): string {
  const text = value instanceof ExactNumber ? value.text : value;
  try {
    return canonicalQuantity(
      typeof text === 'number' ? text : typeof text === 'string' ? text.trim() : describeJson(text),
    );
  } catch (error) {
    throw new DecodeError((error as Error).message, { cause: error });
  }
}

function coerceTime(text: string, precision: 'seconds' | 'microseconds'): string {
  const time = canonicalTime(text, precision);
  if (time !== undefined) return time;
  const layout = precision === 'seconds' ? '2006-01-02T15:04:05Z07:00' : '2006-01-02T15:04:05.000000Z07:00';
  throw new DecodeError(
    `parsing time ${JSON.stringify(text)} as ${JSON.stringify(layout)}: cannot parse ${JSON.stringify(text)} as "2006"`,
  );
}

function coerceBase64(text: string): string {
  const canonical = (candidate: string): boolean => Buffer.from(candidate, 'base64').toString('base64') === candidate;
  if (canonical(text)) return text;
  const joined = text.replaceAll(/[\r\n]/g, '');
  if (canonical(joined)) return joined;
  const bad = joined.search(/[^A-Za-z0-9+/]/);
  throw new DecodeError(`illegal base64 data at input byte ${bad < 0 ? joined.length : bad}`);
}

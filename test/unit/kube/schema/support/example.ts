import {
  type FieldSchema,
  type StructSchema,
  schemaOf,
  type TypeSchema,
} from '../../../../../src/kube/schema/tables.ts';
import { withTopLevel } from '../../../../../src/kube/schema/top-level.ts';

const maxDepth = 9;

/** An object of the kind with every field set, to a limited depth; undefined for kinds that have no protobuf form. */
export function exampleOf(apiVersion: string, kind: string): Record<string, unknown> | undefined {
  const schema = schemaOf(apiVersion, kind);
  if (!schema || schema.wire.size === 0) return undefined;
  return { apiVersion, kind, ...withTopLevel(exampleStruct(schema, 0), schema) };
}

function exampleStruct(schema: StructSchema, depth: number): Record<string, unknown> {
  const object: Record<string, unknown> = {};
  if (depth >= maxDepth) return object;
  for (const field of schema.wire.values()) {
    if (field.inline) Object.assign(object, exampleStruct(field.type as StructSchema, depth));
    else {
      const value = exampleValue(field.type, field, depth + 1);
      const empty = typeof value === 'object' && Object.keys(value as object).length === 0;
      if (!empty || field.pointer) object[field.name] = value;
    }
  }
  return object;
}

function exampleValue(type: TypeSchema, { name, pointer }: FieldSchema, depth: number): unknown {
  if (type.kind === 'struct') return exampleStruct(type, depth);
  if (type.kind === 'list') return [exampleValue(type.element, { name, pointer: true } as FieldSchema, depth)];
  if (type.kind === 'map')
    return { [`${name}-key`]: exampleValue(type.value, { name, pointer: true } as FieldSchema, depth) };
  switch (type.scalar) {
    case 'string':
      return type.values?.[0] || `${name} ü`;
    case 'bytes':
      return Buffer.from([1, 2, 255]).toString('base64');
    case 'bool':
      return !pointer;
    case 'int32':
      return pointer ? 0 : -7;
    case 'int64':
      return 5_000_000_000;
    case 'double':
      return 0.25;
    case 'Quantity':
      return '1500m';
    case 'IntOrString':
      return pointer ? '50%' : 8080;
    case 'Time':
      return '2026-11-20T08:00:00Z';
    case 'MicroTime':
      return '2026-11-20T08:00:00.000250Z';
    case 'Duration':
      return '30s';
    case 'JSONSchemaPropsOrArray':
      return [{ type: 'string' }, { type: 'integer' }];
    case 'JSONSchemaPropsOrStringArray':
      return ['a', 'b'];
    case 'JSONSchemaPropsOrBool':
      return pointer ? { type: 'object' } : true;
    default:
      return { 'f:metadata': { nested: [1, 'two', null] } };
  }
}

import { GobError } from './bytes.ts';
import type { GobStruct, GobValue } from './values.ts';

/** A type on the wire; others are named by their ids, which may be defined later. */
export type Definition =
  | { kind: 'bool' | 'int' | 'uint' | 'float' | 'bytes' | 'string' | 'complex' | 'interface' }
  /** Of a Go type that encodes itself: bytes that mean something to it. */
  | { kind: 'opaque' }
  | { kind: 'slice'; element: number }
  | { kind: 'array'; element: number; length: number }
  | { kind: 'map'; key: number; element: number }
  | { kind: 'struct'; fields: readonly Field[] };

export interface Field {
  name: string;
  type: number;
}

/** Ids that need no definition. */
export const TYPE_ID = {
  bool: 1,
  int: 2,
  uint: 3,
  float: 4,
  bytes: 5,
  string: 6,
  complex: 7,
  interface: 8,
  wireType: 16,
  arrayType: 17,
  commonType: 18,
  sliceType: 19,
  structType: 20,
  fieldType: 21,
  fieldTypes: 22,
  mapType: 23,
  encoderType: 24,
} as const;

/** The first id that a stream may define. */
export const FIRST_DEFINED_ID = 64;
const MOST_FIELDS = 256;

const struct = (fields: Record<string, number>): Definition => ({
  kind: 'struct',
  fields: Object.entries(fields).map(([name, type]) => ({ name, type })),
});

/** What both sides know from the start: the basic types, and those that definitions are written in. */
export const BUILTIN: ReadonlyMap<number, Definition> = new Map<number, Definition>([
  ...(['bool', 'int', 'uint', 'float', 'bytes', 'string', 'complex', 'interface'] as const).map(
    (kind): [number, Definition] => [TYPE_ID[kind], { kind }],
  ),
  [
    TYPE_ID.wireType,
    struct({
      ArrayT: TYPE_ID.arrayType,
      SliceT: TYPE_ID.sliceType,
      StructT: TYPE_ID.structType,
      MapT: TYPE_ID.mapType,
      GobEncoderT: TYPE_ID.encoderType,
      BinaryMarshalerT: TYPE_ID.encoderType,
      TextMarshalerT: TYPE_ID.encoderType,
    }),
  ],
  [TYPE_ID.arrayType, struct({ CommonType: TYPE_ID.commonType, Elem: TYPE_ID.int, Len: TYPE_ID.int })],
  [TYPE_ID.commonType, struct({ Name: TYPE_ID.string, Id: TYPE_ID.int })],
  [TYPE_ID.sliceType, struct({ CommonType: TYPE_ID.commonType, Elem: TYPE_ID.int })],
  [TYPE_ID.structType, struct({ CommonType: TYPE_ID.commonType, Field: TYPE_ID.fieldTypes })],
  [TYPE_ID.fieldType, struct({ Name: TYPE_ID.string, Id: TYPE_ID.int })],
  [TYPE_ID.fieldTypes, { kind: 'slice', element: TYPE_ID.fieldType }],
  [TYPE_ID.mapType, struct({ CommonType: TYPE_ID.commonType, Key: TYPE_ID.int, Elem: TYPE_ID.int })],
  [TYPE_ID.encoderType, struct({ CommonType: TYPE_ID.commonType })],
]);

/** @param wire a value of `wireType`. @throws GobError for one that says nothing, or several things. */
export function parseDefinition(wire: GobValue): Definition {
  const [said, ...more] = wire as GobStruct;
  if (!said || more.length > 0) throw new GobError('a definition must be of one kind');
  const [kind, value] = said as [string, GobStruct];
  const number = (key: string) => Number(value.get(key) ?? 0);
  switch (kind) {
    case 'ArrayT':
      return { kind: 'array', element: number('Elem'), length: number('Len') };
    case 'SliceT':
      return { kind: 'slice', element: number('Elem') };
    case 'MapT':
      return { kind: 'map', key: number('Key'), element: number('Elem') };
    case 'StructT':
      return { kind: 'struct', fields: fieldsOf(value.get('Field') as GobStruct[] | undefined) };
    default:
      return { kind: 'opaque' };
  }
}

function fieldsOf(fields: readonly GobStruct[] = []): Field[] {
  if (fields.length > MOST_FIELDS) throw new GobError(`a struct of ${fields.length} fields, ${MOST_FIELDS} at most`);
  return fields.map((field) => ({ name: String(field.get('Name') ?? ''), type: Number(field.get('Id') ?? 0) }));
}

import { createGobReader, GobError, type GobReader } from './bytes.ts';
import { BUILTIN, type Definition, FIRST_DEFINED_ID, parseDefinition, TYPE_ID } from './definitions.ts';
import { createMessageSplitter } from './messages.ts';
import type { GobMap, GobStruct, GobValue } from './values.ts';

/** What a stream may make of us, whoever sends it. */
const MOST_MESSAGE_BYTES = 4 << 20;
/** Nested values, and with them what recursive types can do. */
const DEEPEST = 32;
/** In one message. A byte of a stream may become an object. */
const MOST_VALUES = 50_000;
/** Definitions of types in a stream. */
const MOST_TYPES = 256;

/** Reads a stream of Go's encoding/gob: values of types that the stream itself describes. */
export interface GobDecoder {
  /** @returns the values that are whole with this chunk. @throws GobError; the stream is of no use then. */
  push(chunk: Uint8Array): GobValue[];
}

/**
 * By the specification in the documentation of Go's package encoding/gob:
 *
 *     stream      (length message)*
 *     message     -id definition | id value
 *     value       of a struct: (step of the field's number, field)* 0; of anything else: 0, the value
 *
 * Definitions may come in any order, before the value that needs them. Of interfaces only nil is read.
 */
export function createGobDecoder(): GobDecoder {
  const defined = new Map<number, Definition>();
  const messages = createMessageSplitter(MOST_MESSAGE_BYTES);
  let budget = 0;

  function define(id: number, reader: GobReader): void {
    if (id < FIRST_DEFINED_ID || defined.has(id)) throw new GobError(`type ${id} is defined already`);
    if (defined.size === MOST_TYPES) throw new GobError(`more than ${MOST_TYPES} types`);
    defined.set(id, parseDefinition(field(TYPE_ID.wireType, reader, 0)));
  }

  function definitionOf(id: number): Definition {
    const definition = BUILTIN.get(id) ?? defined.get(id);
    if (!definition) throw new GobError(`type ${id} is not defined`);
    return definition;
  }

  function value(id: number, reader: GobReader): GobValue {
    if (definitionOf(id).kind !== 'struct' && reader.uint() !== 0) throw new GobError('a single value begins with 0');
    return field(id, reader, 0);
  }

  function field(id: number, reader: GobReader, depth: number): GobValue {
    if (depth > DEEPEST) throw new GobError(`values are nested more than ${DEEPEST} deep`);
    if (--budget < 0) throw new GobError(`more than ${MOST_VALUES} values in a message`);
    const definition = definitionOf(id);
    switch (definition.kind) {
      case 'bool':
        return reader.uint() !== 0;
      case 'int':
        return reader.int();
      case 'uint':
        return reader.uint();
      case 'float':
        return reader.float();
      case 'complex':
        return { real: reader.float(), imaginary: reader.float() };
      case 'string':
        return Buffer.from(reader.bytes(reader.count())).toString('utf8');
      case 'bytes':
      case 'opaque':
        return reader.bytes(reader.count());
      case 'slice':
        return list(reader.count(), definition.element, reader, depth);
      case 'array': {
        const count = reader.count();
        if (count !== definition.length) throw new GobError(`${count} elements of an array of ${definition.length}`);
        return list(count, definition.element, reader, depth);
      }
      case 'map':
        return map(definition, reader, depth);
      case 'struct':
        return struct(definition, reader, depth);
      case 'interface':
        // Its type may be described in the middle of it, over the ends of messages; nothing that we speak with sends one.
        if (reader.uint() !== 0) throw new GobError('an interface that is not nil');
        return undefined;
    }
  }

  function list(count: number, element: number, reader: GobReader, depth: number): GobValue[] {
    const elements: GobValue[] = [];
    for (let n = 0; n < count; n++) elements.push(field(element, reader, depth + 1));
    return elements;
  }

  function map({ key, element }: { key: number; element: number }, reader: GobReader, depth: number): GobMap {
    const entries: GobMap['entries'] = [];
    for (let left = reader.count(); left > 0; left--)
      entries.push([field(key, reader, depth + 1), field(element, reader, depth + 1)]);
    return { entries };
  }

  function struct({ fields }: Extract<Definition, { kind: 'struct' }>, reader: GobReader, depth: number): GobStruct {
    const found: GobStruct = new Map();
    let index = -1;
    for (let step = reader.uint(); step !== 0; step = reader.uint()) {
      index += Number(step);
      const one = fields[index];
      if (!one) throw new GobError(`field ${index} of a struct of ${fields.length}`);
      found.set(one.name, field(one.type, reader, depth + 1));
    }
    return found;
  }

  return {
    push(chunk) {
      const values: GobValue[] = [];
      for (const message of messages.push(chunk)) {
        const reader = createGobReader(message);
        budget = MOST_VALUES;
        const id = Number(reader.int());
        if (id < 0) define(-id, reader);
        else values.push(value(id, reader));
        if (reader.left > 0) throw new GobError(`${reader.left} bytes too many in a message`);
      }
      return values;
    },
  };
}

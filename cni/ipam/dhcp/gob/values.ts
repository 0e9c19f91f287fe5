import type { Integer } from './bytes.ts';

/** A struct's fields by name. One that is absent has the zero value of its type: gob does not send it. */
export type GobStruct = Map<string, GobValue>;

export interface GobComplex {
  real: number;
  imaginary: number;
}

export interface GobMap {
  entries: [key: GobValue, element: GobValue][];
}

/** A value of Go's as a stream carries it. */
export type GobValue =
  | boolean
  | Integer
  | string
  | Uint8Array
  | GobComplex
  | GobMap
  | GobStruct
  | GobValue[]
  /** An interface's nil. */
  | undefined;

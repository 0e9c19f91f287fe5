/** A place in a text: lines from 1, columns from 1, as stack traces have them. */
export interface Position {
  line: number;
  column: number;
}

export interface SourcePosition extends Position {
  source: string;
}

/** The parts of a source map (ECMA-426) that a stack trace needs. */
export interface SourceMapParts {
  sources: readonly string[];
  mappings: string;
}

const DIGITS = new Map([...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'].map((c, i) => [c, i]));
const SEMICOLON = ';'.charCodeAt(0);
const COMMA = ','.charCodeAt(0);
const DIGIT_OF = new Uint8Array(128);
for (const [character, digit] of DIGITS) DIGIT_OF[character.charCodeAt(0)] = digit;

/**
 * Finds what stood at positions of the generated text, in one walk over the mappings and without keeping anything: a decoded map costs a
 * daemon 20 MiB for good, a walk some milliseconds for a stack trace that somebody reads.
 *
 * @returns by index of `positions`; undefined where the map tells nothing.
 */
export function findSourcePositions(
  { sources, mappings }: SourceMapParts,
  positions: readonly Position[],
): (SourcePosition | undefined)[] {
  const found: (SourcePosition | undefined)[] = positions.map(() => undefined);
  let line = 1;
  // Running sums of the segments' fields, from 0.
  let column = 0;
  let source = 0;
  let sourceLine = 0;
  let sourceColumn = 0;
  // Of the segment at hand.
  const fields = [0, 0, 0, 0, 0];
  let count = 0;
  let value = 0;
  let shift = 0;
  const endSegment = () => {
    if (count === 0) return;
    column += fields[0]!;
    if (count >= 4) {
      source += fields[1]!;
      sourceLine += fields[2]!;
      sourceColumn += fields[3]!;
    }
    for (const [index, position] of positions.entries())
      if (position.line === line && column <= position.column - 1)
        found[index] =
          count >= 4 ? { source: sources[source] ?? '', line: sourceLine + 1, column: sourceColumn + 1 } : undefined;
    count = 0;
  };
  for (let at = 0; at < mappings.length; at++) {
    const character = mappings.charCodeAt(at);
    if (character === COMMA || character === SEMICOLON) {
      endSegment();
      if (character === SEMICOLON) {
        line++;
        column = 0;
      }
      continue;
    }
    const digit = DIGIT_OF[character]!;
    value |= (digit & 31) << shift;
    if (digit & 32) shift += 5;
    else {
      fields[count++] = value & 1 ? -(value >>> 1) : value >>> 1;
      value = 0;
      shift = 0;
    }
  }
  endSegment();
  return found;
}

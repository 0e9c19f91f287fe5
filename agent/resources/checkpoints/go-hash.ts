/**
 * The kubelet's checkpoints carry a checksum over how Go prints the value (spew, `%#v`), as 32-bit FNV-1a. Files that are exchanged with it,
 * in both directions, need the same.
 */

const FNV_OFFSET = 0x811c9dc5;
const FNV_PRIME = 0x01000193;

/** 32-bit FNV-1a of the text's UTF-8 bytes. */
export function fnv32a(text: string): number {
  let hash = FNV_OFFSET;
  for (const byte of Buffer.from(text)) hash = Math.imul(hash ^ byte, FNV_PRIME) >>> 0;
  return hash >>> 0;
}

/** A map as Go prints it for a hash: keys sorted (numbers by value, strings by bytes), values as already printed. */
export function printGoMap(entries: Iterable<readonly [string | number, string]>): string {
  const sorted = [...entries].sort(([left], [right]) =>
    typeof left === 'number' && typeof right === 'number'
      ? left - right
      : Buffer.compare(Buffer.from(String(left)), Buffer.from(String(right))),
  );
  return `map[${sorted.map(([key, value]) => `${key}:${value}`).join(' ')}]`;
}

/** A slice of numbers as Go prints it. */
export function printGoInts(numbers: readonly number[]): string {
  return `([]int)[${numbers.join(' ')}]`;
}

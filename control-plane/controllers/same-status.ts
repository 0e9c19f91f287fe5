import { isDeepStrictEqual } from 'node:util';

/** Whether writing a status would change anything. Servers may omit what is 0 or empty, so absent and zero are one. */
export function sameStatus(a: object | undefined, b: object | undefined): boolean {
  return isDeepStrictEqual(withoutZeros(a), withoutZeros(b));
}

function withoutZeros(status: object | undefined): object {
  const told = Object.entries(status ?? {}).filter(
    ([, value]) =>
      value !== undefined && value !== null && value !== 0 && !(Array.isArray(value) && value.length === 0),
  );
  return Object.fromEntries(told);
}

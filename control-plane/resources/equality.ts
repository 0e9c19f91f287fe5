import { isDeepStrictEqual } from 'node:util';

/** Equal as the API means it: an absent field, null and an empty list are the same, quantities are canonical already. */
export function semanticEqual(left: unknown, right: unknown): boolean {
  return isDeepStrictEqual(strip(left), strip(right));
}

function strip(value: unknown): unknown {
  if (Array.isArray(value)) return value.length === 0 ? undefined : value.map(strip);
  if (value === null || typeof value !== 'object') return value ?? undefined;
  return Object.fromEntries(
    Object.entries(value)
      .map(([key, one]) => [key, strip(one)] as const)
      .filter(([, one]) => one !== undefined),
  );
}

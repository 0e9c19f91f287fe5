/**
 * Applies a JSON merge patch (RFC 7386): objects merge by key, null deletes, anything else replaces.
 *
 * @returns the patched value; neither argument is changed, parts of both may be shared with the result.
 */
export function mergePatch(original: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch;
  const merged: Record<string, unknown> = isObject(original) ? { ...original } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete merged[key];
    else {
      const result = mergePatch(Object.hasOwn(merged, key) ? merged[key] : undefined, value);
      Object.defineProperty(merged, key, { value: result, writable: true, enumerable: true, configurable: true });
    }
  }
  return merged;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

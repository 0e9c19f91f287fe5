import type { StructSchema } from './tables.ts';

/** Adds a kind's `metadata` and `spec` where the body left them out: in Go they are always there. In place. */
export function withTopLevel(object: Record<string, unknown>, schema: StructSchema): Record<string, unknown> {
  for (const name of ['metadata', 'spec']) {
    const field = schema.fields.get(name);
    if (field && !field.pointer && field.type.kind === 'struct') object[name] ??= {};
  }
  return object;
}

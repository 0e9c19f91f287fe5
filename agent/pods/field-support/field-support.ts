/**
 * What becomes of every field that a pod's spec may have. It drives the refusals (unsupported.ts) and the table in
 * docs/pods.md; a test holds it against the wire types' schema. Whoever implements a field says so here.
 */
import { CONTAINER_SUPPORT, SECURITY_SUPPORT } from './containers.ts';
import type { FieldSupport, StructSupport } from './entry.ts';
import { POD_SPEC_SUPPORT } from './pod-spec.ts';
import { VOLUME_SUPPORT } from './volumes.ts';

/** By the name of the Go type: `PodSpec`, `Container`, …. */
export const FIELD_SUPPORT: Readonly<Record<string, StructSupport>> = {
  ...POD_SPEC_SUPPORT,
  ...CONTAINER_SUPPORT,
  ...SECURITY_SUPPORT,
  ...VOLUME_SUPPORT,
};

/** undefined: this table does not know the field. */
export function supportOf(type: string, field: string): FieldSupport | undefined {
  const struct = FIELD_SUPPORT[type];
  return struct?.[field] ?? struct?.['*'];
}

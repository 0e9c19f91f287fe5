import { isDeepStrictEqual } from 'node:util';
import type { PodTemplateSpec } from '../../src/kube/types.ts';

export const POD_TEMPLATE_HASH_LABEL = 'pod-template-hash';

/** The letters of generated names: no vowels, so no words. */
const SAFE_LETTERS = 'bcdfghjklmnpqrstvwxz2456789';

/**
 * A short stable hash of a template: FNV-1a (32 bit) of its JSON with sorted keys, then of the collision count, in safe
 * letters. Upstream hashes Go's own print of the struct, which nobody else can reproduce; only stability matters.
 */
export function templateHash(template: PodTemplateSpec, collisionCount = 0): string {
  let hash = fnv1a(0x811c9dc5, JSON.stringify(sorted(template)));
  if (collisionCount > 0) hash = fnv1a(hash, `#${collisionCount}`);
  return [...String(hash)].map((digit) => SAFE_LETTERS[digit.charCodeAt(0) % SAFE_LETTERS.length]).join('');
}

function fnv1a(seed: number, text: string): number {
  let hash = seed;
  for (const byte of Buffer.from(text)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash;
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, inner]) => [key, sorted(inner)]),
  );
}

/** The template with the hash label on its pods. */
export function withTemplateHash(template: PodTemplateSpec, hash: string): PodTemplateSpec {
  const labels = { ...template.metadata?.labels, [POD_TEMPLATE_HASH_LABEL]: hash };
  return { ...template, metadata: { ...template.metadata, labels } };
}

/** Whether two templates describe the same pods; the hash label does not count. */
export function equalTemplates(a: PodTemplateSpec | undefined, b: PodTemplateSpec | undefined): boolean {
  return isDeepStrictEqual(withoutHash(a), withoutHash(b));
}

function withoutHash(template: PodTemplateSpec | undefined) {
  const { labels = {}, ...metadata } = template?.metadata ?? {};
  const rest = Object.entries(labels).filter(([key]) => key !== POD_TEMPLATE_HASH_LABEL);
  return { spec: template?.spec, metadata: { ...metadata, labels: Object.fromEntries(rest) } };
}

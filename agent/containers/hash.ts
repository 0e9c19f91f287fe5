import type { Container } from '../../src/kube/types.ts';

/** FNV-1a, 32 bits. */
function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

/**
 * Hex hash over what restarts a running container when it changes: name and image, nothing else. (Upstream learnt
 * that hashing all fields restarts everything whenever a release adds a field.)
 */
export function containerHash(container: Pick<Container, 'name' | 'image'>): string {
  return fnv1a(JSON.stringify({ name: container.name, image: container.image ?? '' })).toString(16);
}

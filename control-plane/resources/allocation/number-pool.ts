/** Numbers 0 … size−1, each held by at most one owner. */
export interface NumberPool {
  has(number: number): boolean;
  /** Takes this one; false when it is held already. */
  take(number: number): boolean;
  /** Takes a free one at random, from the upper band while that lasts; undefined when all are held. */
  takeAny(): number | undefined;
  release(number: number): void;
}

/**
 * `lowerBand` numbers at the bottom are left for whoever asks for a certain one: random choices take them last, so that
 * well-known addresses and ports in manifests seldom collide with them. `random` answers in [0, 1).
 */
export function createNumberPool(size: number, lowerBand: number, random: () => number): NumberPool {
  const held = new Set<number>();
  const freeWithin = (from: number, to: number): number | undefined => {
    const count = to - from;
    if (count <= 0) return undefined;
    const start = Math.floor(random() * count);
    for (let step = 0; step < count; step++) {
      const candidate = from + ((start + step) % count);
      if (!held.has(candidate)) return candidate;
    }
    return undefined;
  };
  return {
    has: (number) => held.has(number),
    take(number) {
      if (held.has(number)) return false;
      held.add(number);
      return true;
    },
    takeAny() {
      if (held.size >= size) return undefined;
      const found = freeWithin(lowerBand, size) ?? freeWithin(0, lowerBand);
      if (found !== undefined) held.add(found);
      return found;
    },
    release(number) {
      held.delete(number);
    },
  };
}

/** The size of the lower band: a share of the range within limits; none in ranges that are too small for it. */
export function lowerBandOf(size: number, share: number, most: number): number {
  const least = 16;
  return size < least ? 0 : Math.min(Math.max(least, Math.floor(size / share)), most);
}

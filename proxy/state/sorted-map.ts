interface Leaf<V> {
  /** Sorted. */
  readonly keys: readonly string[];
  readonly values: readonly V[];
}

/** A leaf that grows beyond it is cut in two. */
const LEAF_ENTRIES = 256;

/**
 * A map in the order of its keys that never changes: a changed one shares every leaf in which nothing has changed. So a snapshot after one change
 * costs a leaf and the list of leaves (n / 128 pointers at most), where a copied Map would cost all n entries.
 */
export class SortedMap<V> implements ReadonlyMap<string, V> {
  readonly size: number;
  readonly #leaves: readonly Leaf<V>[];

  private constructor(leaves: readonly Leaf<V>[], size: number) {
    this.#leaves = leaves;
    this.size = size;
  }

  static empty<V>(): SortedMap<V> {
    return new SortedMap<V>([], 0);
  }

  get(key: string): V | undefined {
    const leaf = this.#leaves[this.#leafOf(key)];
    if (!leaf) return undefined;
    const at = lowerBound(leaf.keys, key);
    return leaf.keys[at] === key ? leaf.values[at] : undefined;
  }

  has(key: string): boolean {
    return this.get(key) !== undefined;
  }

  /** @param changes new values by key; undefined takes the key away */
  with(changes: ReadonlyMap<string, V | undefined>): SortedMap<V> {
    const byLeaf = new Map<number, [string, V | undefined][]>();
    for (const change of [...changes].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const index = Math.max(0, this.#leafOf(change[0]));
      const ofLeaf = byLeaf.get(index);
      if (ofLeaf) ofLeaf.push(change);
      else byLeaf.set(index, [change]);
    }
    const source: readonly Leaf<V>[] = this.#leaves.length > 0 ? this.#leaves : [{ keys: [], values: [] }];
    let size = this.size;
    const leaves = source.flatMap((leaf, index) => {
      const ofLeaf = byLeaf.get(index);
      if (!ofLeaf) return [leaf];
      const merged = merge(leaf, ofLeaf);
      size += merged.keys.length - leaf.keys.length;
      return split(merged);
    });
    return new SortedMap(leaves, size);
  }

  *entries(): Generator<[string, V], undefined> {
    for (const { keys, values } of this.#leaves)
      for (const [index, key] of keys.entries()) yield [key, values[index] as V];
  }

  *keys(): Generator<string, undefined> {
    for (const { keys } of this.#leaves) yield* keys;
  }

  *values(): Generator<V, undefined> {
    for (const { values } of this.#leaves) yield* values;
  }

  [Symbol.iterator](): Generator<[string, V], undefined> {
    return this.entries();
  }

  forEach(visit: (value: V, key: string, map: ReadonlyMap<string, V>) => void): void {
    for (const [key, value] of this.entries()) visit(value, key, this);
  }

  /** The last leaf that begins at or before the key; -1 when all begin after it. */
  #leafOf(key: string): number {
    let low = 0;
    let high = this.#leaves.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#leaves[middle]!.keys[0]! <= key) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
}

/** Index of the first key that is not less. */
function lowerBound(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (keys[middle]! < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Both are sorted. */
function merge<V>({ keys, values }: Leaf<V>, changes: readonly [string, V | undefined][]): Leaf<V> {
  const merged = { keys: [] as string[], values: [] as V[] };
  const add = (key: string, value: V) => {
    merged.keys.push(key);
    merged.values.push(value);
  };
  let at = 0;
  for (const [key, value] of changes) {
    for (; at < keys.length && keys[at]! < key; at++) add(keys[at]!, values[at]!);
    if (keys[at] === key) at++;
    if (value !== undefined) add(key, value);
  }
  for (; at < keys.length; at++) add(keys[at]!, values[at]!);
  return merged;
}

function split<V>({ keys, values }: Leaf<V>): Leaf<V>[] {
  if (keys.length <= LEAF_ENTRIES) return keys.length > 0 ? [{ keys, values }] : [];
  const count = Math.ceil(keys.length / (LEAF_ENTRIES / 2));
  const width = Math.ceil(keys.length / count);
  return Array.from({ length: count }, (_, index) => ({
    keys: keys.slice(index * width, (index + 1) * width),
    values: values.slice(index * width, (index + 1) * width),
  })).filter((leaf) => leaf.keys.length > 0);
}

/**
 * Gives each load-balanced chain its range of keys in the map of endpoints. The range begins at a multiple of the block size and keeps
 * its beginning while endpoints come and go, so that a change touches the rule only when the number of endpoints changes.
 */
export interface SlotAllocator {
  /** The first slot of a chain that has `count` endpoints. A chain that outgrows its blocks moves. */
  first(chain: string, count: number): number;
  /** The chain is gone; others may have its slots. */
  release(chain: string): void;
  /** The range that the kernel's rule names already. @returns false when it cannot be kept */
  adopt(chain: string, first: number, count: number): boolean;
}

/** Most services have fewer endpoints; there are four million blocks, and slots that are not used cost nothing. */
const BLOCK = 1024;
const BLOCKS = 2 ** 32 / BLOCK;

export function createSlotAllocator(): SlotAllocator {
  const ranges = new Map<string, { block: number; blocks: number }>();
  const used = new Set<number>();
  /** Blocks below that are free again. */
  const free: number[] = [];
  let next = 0;

  function take(blocks: number): number {
    while (blocks === 1 && free.length > 0) {
      const block = free.pop()!;
      if (!used.has(block)) return block;
    }
    for (let block = next; ; block++) {
      if (block + blocks > BLOCKS) throw new Error('nftables: no room for more endpoints in 2^32 slots');
      if (!isFree(block, blocks)) continue;
      next = block + blocks;
      return block;
    }
  }

  function isFree(block: number, blocks: number): boolean {
    for (let index = block; index < block + blocks; index++) if (used.has(index)) return false;
    return true;
  }

  function occupy(chain: string, block: number, blocks: number): void {
    ranges.set(chain, { block, blocks });
    for (let index = block; index < block + blocks; index++) used.add(index);
  }

  function release(chain: string): void {
    const range = ranges.get(chain);
    if (!range) return;
    ranges.delete(chain);
    for (let index = range.block; index < range.block + range.blocks; index++) {
      used.delete(index);
      free.push(index);
    }
  }

  return {
    first(chain, count) {
      const blocks = Math.max(1, Math.ceil(count / BLOCK));
      const known = ranges.get(chain);
      if (known && known.blocks >= blocks) return known.block * BLOCK;
      release(chain);
      const block = take(blocks);
      occupy(chain, block, blocks);
      return block * BLOCK;
    },
    release,
    adopt(chain, first, count) {
      const blocks = Math.max(1, Math.ceil(count / BLOCK));
      const block = first / BLOCK;
      if (!Number.isInteger(block) || block + blocks > BLOCKS || ranges.has(chain) || !isFree(block, blocks))
        return false;
      occupy(chain, block, blocks);
      return true;
    },
  };
}

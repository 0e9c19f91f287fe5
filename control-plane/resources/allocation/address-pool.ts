import { parseBlock } from './cidr.ts';
import { createNumberPool, lowerBandOf } from './number-pool.ts';

/** The addresses of one range, each held by at most one Service. */
export interface AddressPool {
  readonly family: 'IPv4' | 'IPv6';
  readonly cidr: string;
  readonly firstAddress: string;
  take(address: string): 'taken' | 'held' | 'outside';
  /** undefined when all are held. */
  takeAny(): string | undefined;
  /** One from outside of the range is no matter. */
  release(address: string): void;
}

/** @throws when the CIDR is none, or has less than two addresses. */
export function createAddressPool(cidr: string, random: () => number): AddressPool {
  const block = parseBlock(cidr);
  // Offset 0 is the network; IPv4 has a broadcast address at the end.
  const usable = block.size - (block.family === 'IPv4' ? 2 : 1);
  if (usable < 2)
    throw new Error(`service CIDR ${cidr} has room for ${Math.max(usable, 0)} addresses: two are the least`);
  const numbers = createNumberPool(usable, lowerBandOf(block.size, 16, 256), random);
  const indexOf = (address: string): number | undefined => {
    const offset = block.offsetOf(address);
    return offset === undefined || offset < 1 || offset > usable ? undefined : offset - 1;
  };
  return {
    family: block.family,
    cidr,
    firstAddress: block.at(1),
    take(address) {
      const index = indexOf(address);
      if (index === undefined) return 'outside';
      return numbers.take(index) ? 'taken' : 'held';
    },
    takeAny() {
      const index = numbers.takeAny();
      return index === undefined ? undefined : block.at(index + 1);
    },
    release(address) {
      const index = indexOf(address);
      if (index !== undefined) numbers.release(index);
    },
  };
}

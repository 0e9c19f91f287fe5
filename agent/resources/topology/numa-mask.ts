/**
 * A set of NUMA nodes, bit n for node n. A bigint, since node numbers need not be dense (memory of accelerators sits at
 * 252 and up on some machines).
 */
export type NumaMask = bigint;

/** The set of these nodes. */
export function numaMask(nodes: Iterable<number>): NumaMask {
  let mask = 0n;
  for (const node of nodes) mask |= 1n << BigInt(node);
  return mask;
}

/** Nodes of the set, ascending. */
export function numaNodesOf(mask: NumaMask): number[] {
  const nodes: number[] = [];
  for (let rest = mask, node = 0; rest > 0n; rest >>= 1n, node++) if (rest & 1n) nodes.push(node);
  return nodes;
}

/** How many nodes are in the set. */
export function countNumaNodes(mask: NumaMask): number {
  let count = 0;
  for (let rest = mask; rest > 0n; rest &= rest - 1n) count++;
  return count;
}

/** Whether every node of `inner` is in `outer`. */
export function isWithin(inner: NumaMask, outer: NumaMask): boolean {
  return (inner & ~outer) === 0n;
}

/** Upstream's order of sets: fewer nodes first; with as many, the one with lower numbers. */
export function isNarrower(left: NumaMask, right: NumaMask): boolean {
  const [leftCount, rightCount] = [countNumaNodes(left), countNumaNodes(right)];
  return leftCount === rightCount ? left < right : leftCount < rightCount;
}

/** Calls `visit` with every non-empty subset of the nodes: small sets first, then in lexical order of the nodes, as upstream. */
export function forEachNumaSubset(nodes: readonly number[], visit: (mask: NumaMask) => void): void {
  const extend = (from: number, left: number, mask: NumaMask) => {
    if (left === 0) return visit(mask);
    for (let index = from; index <= nodes.length - left; index++)
      extend(index + 1, left - 1, mask | (1n << BigInt(nodes[index]!)));
  };
  for (let size = 1; size <= nodes.length; size++) extend(0, size, 0n);
}

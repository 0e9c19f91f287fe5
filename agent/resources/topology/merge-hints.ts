import type { ResourceHints, TopologyHint } from './hint-provider.ts';
import { type NumaMask, numaMask } from './numa-mask.ts';

export type TopologyPolicy = 'none' | 'best-effort' | 'restricted' | 'single-numa-node';

export interface NumaMachine {
  /** Ascending. */
  readonly nodes: readonly number[];
  /** With `prefer-closest-numa-nodes`: row and column by position in `nodes`. */
  readonly distances?: readonly (readonly number[])[];
}

/** One hint, its mask over positions in `nodes`; undefined: any. */
interface Dense {
  mask: number | undefined;
  preferred: boolean;
}

/**
 * The set of NUMA nodes on which all resources agree, and whether the policy lets the pod in with it.
 *
 * Upstream walks through every combination of one hint a resource. What it keeps in the end depends on the combinations' intersections alone, and of
 * those there are no more than sets of nodes: they are carried from resource to resource, so that the cost grows with the resources and not with the
 * product of their hints. Pure.
 */
export function mergeHints(
  policy: Exclude<TopologyPolicy, 'none'>,
  machine: NumaMachine,
  providers: readonly ResourceHints[],
): { hint: TopologyHint; admit: boolean } {
  const positions = new Map(machine.nodes.map((node, position) => [node, position]));
  const all = 2 ** machine.nodes.length - 1;
  let resources = providers
    .flatMap((hints) => listHints(hints))
    .map((hints) => hints.map((hint) => toDense(hint, positions)));
  if (policy === 'single-numa-node')
    resources = resources.map((hints) =>
      hints.filter(({ mask, preferred }) => preferred && (mask === undefined || countBits(mask) === 1)),
    );
  const best = bestIntersection(resources, all, machine, policy !== 'single-numa-node');
  const hint: TopologyHint = { numaNodes: toMask(best.mask, machine.nodes), preferred: best.preferred };
  // All nodes are no affinity: providers choose for themselves.
  if (policy === 'single-numa-node' && best.mask === all)
    return { hint: { preferred: best.preferred }, admit: best.preferred };
  return { hint, admit: policy === 'best-effort' || best.preferred };
}

/** No hints at all: any node will do. A resource with none: nowhere. */
function listHints(hints: ResourceHints): (readonly TopologyHint[])[] {
  if (hints.size === 0) return [[{ preferred: true }]];
  return [...hints.values()].map((list) => {
    if (list === undefined) return [{ preferred: true }];
    return list.length === 0 ? [{ preferred: false }] : list;
  });
}

function bestIntersection(resources: readonly Dense[][], all: number, machine: NumaMachine, mayPreferClosest: boolean) {
  const closest = mayPreferClosest ? machine.distances : undefined;
  const isCloser = (left: number, right: number) => isFitter(left, right, closest);
  const wanted = agreements(resources, all);
  if (wanted.length > 0)
    return { mask: wanted.reduce((best, mask) => (isCloser(mask, best) ? mask : best)), preferred: true };
  const rest = intersections(resources, all);
  if (rest.length === 0) return { mask: all, preferred: false };
  const target = Math.max(0, ...resources.map(narrowestCount));
  return {
    mask: rest.reduce((best, mask) => (isNearer(mask, best, target, isCloser) ? mask : best)),
    preferred: false,
  };
}

/** Sets that every resource prefers: a combination is preferred when all its hints are, and name the very same nodes. */
function agreements(resources: readonly Dense[][], all: number): number[] {
  const preferences = resources.map(
    (hints) => new Set(hints.flatMap(({ mask, preferred }) => (preferred ? [mask] : []))),
  );
  const named = new Set(preferences.flatMap((masks) => [...masks]));
  return [...named]
    .filter((mask) => preferences.every((masks) => masks.has(mask) || masks.has(undefined)))
    .map((mask) => mask ?? all)
    .filter((mask) => mask !== 0);
}

/** The non-empty intersections of all combinations of one hint a resource. */
function intersections(resources: readonly Dense[][], all: number): number[] {
  let found = countSupersets([all], all);
  for (const hints of resources) {
    const own = countSupersets(new Set(hints.map(({ mask }) => mask ?? all)), all);
    // How many pairs have both within reach of a set is a product; how many intersect in just that set follows from it.
    for (let mask = 0; mask <= all; mask++) own[mask] = own[mask]! * found[mask]!;
    spread(own, all, -1);
    const masks: number[] = [];
    for (let mask = 0; mask <= all; mask++) if (own[mask]! > 0.5) masks.push(mask);
    found = countSupersets(masks, all);
  }
  spread(found, all, -1);
  return Array.from({ length: all }, (_, index) => index + 1).filter((mask) => found[mask]! > 0.5);
}

/** For each set of nodes, how many of the masks contain it. */
function countSupersets(masks: Iterable<number>, all: number): Float64Array {
  const counts = new Float64Array(all + 1);
  for (const mask of masks) counts[mask] = 1;
  spread(counts, all, 1);
  return counts;
}

/** Sums over supersets (1), and back (−1), bit by bit. */
function spread(counts: Float64Array, all: number, sign: 1 | -1): void {
  for (let bit = 1; bit <= all; bit <<= 1)
    for (let mask = 0; mask <= all; mask++)
      if (!(mask & bit)) counts[mask] = counts[mask]! + sign * counts[mask | bit]!;
}

/** How many nodes the resource's narrowest hint has: what the greediest resource needs at least is aimed at. */
function narrowestCount(hints: readonly Dense[]): number {
  const counts = hints.flatMap(({ mask }) => (mask === undefined ? [] : [countBits(mask)]));
  return counts.length === 0 ? 0 : Math.min(...counts);
}

/** Of sets that nobody prefers: the one with as many nodes as aimed at, else as near below it as can be, else above. */
function isNearer(left: number, right: number, target: number, isCloser: (left: number, right: number) => boolean) {
  const [leftCount, rightCount] = [countBits(left), countBits(right)];
  if (leftCount === rightCount) return isCloser(left, right);
  if (leftCount > target || rightCount > target) return leftCount < rightCount;
  return leftCount > rightCount;
}

/** Fewer nodes; then, if distances count, nearer ones; then lower numbers. */
function isFitter(left: number, right: number, distances: NumaMachine['distances']): boolean {
  const [leftCount, rightCount] = [countBits(left), countBits(right)];
  if (leftCount !== rightCount) return leftCount < rightCount;
  if (distances) {
    const [near, far] = [averageDistance(left, distances), averageDistance(right, distances)];
    if (near !== far) return near < far;
  }
  return left < right;
}

function averageDistance(mask: number, distances: readonly (readonly number[])[]): number {
  const members = distances.map((_, index) => index).filter((index) => mask & (1 << index));
  const sum = members.reduce(
    (total, one) => total + members.reduce((row, other) => row + (distances[one]?.[other] ?? 0), 0),
    0,
  );
  return sum / members.length ** 2;
}

function toDense({ numaNodes, preferred }: TopologyHint, positions: ReadonlyMap<number, number>): Dense {
  if (numaNodes === undefined) return { mask: undefined, preferred };
  let mask = 0;
  for (const [node, position] of positions) if (numaNodes & (1n << BigInt(node))) mask |= 1 << position;
  return { mask, preferred };
}

function toMask(dense: number, nodes: readonly number[]): NumaMask {
  return numaMask(nodes.filter((_, position) => dense & (1 << position)));
}

function countBits(mask: number): number {
  let count = 0;
  for (let rest = mask; rest !== 0; rest &= rest - 1) count++;
  return count;
}

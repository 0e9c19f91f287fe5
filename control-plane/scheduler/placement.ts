import type { Pod } from '../../src/kube/types.ts';
import { reasonsAgainst, refusalEverywhere } from './filters.ts';
import type { ClusterView, NodeInfo } from './node-info.ts';
import { bestNode } from './scoring.ts';

export type Placement = { nodeName: string } | { refusal: string };

/** Upstream compares at most a sample of the feasible nodes in big clusters. */
const ENOUGH_NODES = 100;

/** How many feasible nodes are worth comparing: all of 100, then a falling percentage, at least 5 %. */
export function sampleSize(nodeCount: number): number {
  if (nodeCount <= ENOUGH_NODES) return nodeCount;
  const percentage = Math.max(5, 50 - Math.floor(nodeCount / 125));
  return Math.max(ENOUGH_NODES, Math.floor((nodeCount * percentage) / 100));
}

/** Chooses a node for a pod, or says why there is none. `start` is where the search begins, so that all nodes get a turn. */
export function choosePlacement(
  pod: Pod,
  view: ClusterView,
  { start, random }: { start: number; random: () => number },
): Placement & { examined: number } {
  const { nodes } = view;
  const everywhere = refusalEverywhere(pod, view);
  if (everywhere && nodes.length > 0)
    return { refusal: `0/${nodes.length} nodes are available: ${everywhere}.`, examined: 0 };
  const wanted = sampleSize(nodes.length);
  const feasible: NodeInfo[] = [];
  const refusals = new Map<string, number>();
  let examined = 0;
  while (examined < nodes.length && feasible.length < wanted) {
    const info = nodes[(start + examined) % nodes.length]!;
    examined++;
    const reasons = reasonsAgainst(pod, info, view);
    if (reasons.length === 0) feasible.push(info);
    for (const reason of reasons) refusals.set(reason, (refusals.get(reason) ?? 0) + 1);
  }
  const best = bestNode(pod, feasible, view, random);
  if (best) return { nodeName: best.node.metadata.name, examined };
  return { refusal: renderRefusal(nodes.length, refusals), examined };
}

/** `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.` */
export function renderRefusal(nodeCount: number, refusals: ReadonlyMap<string, number>): string {
  if (nodeCount === 0) return 'no nodes available to schedule pods';
  const counted = [...refusals].map(([reason, count]) => `${count} ${reason}`).sort();
  return `0/${nodeCount} nodes are available: ${counted.join(', ')}.`;
}

import type { Clock } from '../../src/runtime/clock.ts';
import type { ObjectReader } from '../apiserver/definition.ts';
import type { NodeConnection } from '../apiserver/nodes/node-connection.ts';

/** What this API needs of a node's /stats/summary (stats.k8s.io/v1alpha1). */
export interface NodeUsage {
  node: Usage;
  pods: { podRef: { name: string; namespace: string; uid: string }; containers?: (Usage & { name: string })[] }[];
}

export interface Usage {
  cpu?: { time: string; usageNanoCores?: number };
  memory?: { workingSetBytes?: number };
}

export interface NodeUsageReader {
  /** Undefined when the node does not say; never throws. */
  of(nodeName: string): Promise<NodeUsage | undefined>;
}

/** metrics-server looks every 15 s; here somebody has to ask, and many who ask at once cost one look. */
const MAX_AGE_MS = 10_000;
const PATIENCE_MS = 5_000;

/** Reads what nodes say of themselves when it is asked for: an idle cluster pays nothing for it. */
export function createNodeUsageReader(deps: {
  nodes: Pick<NodeConnection, 'get'>;
  objects: ObjectReader;
  clock: Clock;
}): NodeUsageReader {
  const { nodes, objects, clock } = deps;
  const known = new Map<string, { atMs: number; usage: Promise<NodeUsage | undefined> }>();

  async function read(nodeName: string): Promise<NodeUsage | undefined> {
    try {
      const query = new URLSearchParams({ only_cpu_and_memory: 'true' });
      const signal = AbortSignal.timeout(PATIENCE_MS);
      const { status, body } = await nodes.get(nodeName, '/stats/summary', query, { objects, signal });
      let text = '';
      for await (const chunk of body) text += chunk;
      return status === 200 ? (JSON.parse(text) as NodeUsage) : undefined;
    } catch {
      // A node that is away has no usage to show; that it is away shows elsewhere.
      return undefined;
    }
  }

  return {
    of(nodeName) {
      const entry = known.get(nodeName);
      if (entry && clock.monotonicMs() - entry.atMs < MAX_AGE_MS) return entry.usage;
      for (const [name, { atMs }] of known) if (clock.monotonicMs() - atMs >= MAX_AGE_MS) known.delete(name);
      const fresh = { atMs: clock.monotonicMs(), usage: read(nodeName) };
      known.set(nodeName, fresh);
      return fresh.usage;
    },
  };
}

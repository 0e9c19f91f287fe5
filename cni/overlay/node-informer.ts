import type { Node } from '../../src/kube/types.ts';
import type { Clock } from '../../src/runtime/clock.ts';

/** The nodes of the cluster, as an informer offers them. */
export interface NodeInformer {
  synced(signal?: AbortSignal): Promise<void>;
  get(name: string): Node | undefined;
  subscribe(handlers: {
    added(node: Node): void;
    updated(old: Node, node: Node): void;
    deleted(node: Node): void;
  }): () => void;
}

const BEAT_MS = 10_000;

/**
 * Waits for the first list of nodes, or the end. With the API server away it may be long in coming: who waits is not dead (`heartbeat`), and a
 * start anew would not help.
 */
export async function untilListed(
  nodes: Pick<NodeInformer, 'synced'>,
  { clock, heartbeat }: { clock: Clock; heartbeat?: () => void },
  signal: AbortSignal,
): Promise<void> {
  const listed = nodes.synced(signal).then(() => true);
  for (let isListed = false; !isListed && !signal.aborted; ) {
    heartbeat?.();
    const waited = clock.sleep(BEAT_MS, signal).then(() => false);
    isListed = await Promise.race([listed, waited]).catch((error) => {
      if (!signal.aborted) throw error;
      return false;
    });
  }
}

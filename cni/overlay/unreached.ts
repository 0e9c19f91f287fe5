import type { Logger } from '../../src/runtime/log.ts';
import type { SyncOutcome } from './backend.ts';
import type { OverlayMetrics } from './metrics.ts';
import type { PeerTable } from './peer-table.ts';

type Reasons = SyncOutcome['skipped'];

/** The nodes whose pods can't be reached, with the reasons, as of the passes so far: for the log, the metrics and whoever asks. */
export interface Unreached {
  /** `names`: the nodes that a pass was about; undefined: all of them. */
  record(skipped: Reasons, names: ReadonlySet<string> | undefined): void;
  list(): Reasons;
}

export function createUnreached(
  table: Pick<PeerTable, 'peers' | 'skipped'>,
  deps: { log: Logger; metrics?: Pick<OverlayMetrics, 'peers' | 'skipped'> },
): Unreached {
  const { log, metrics } = deps;
  let current: Reasons = [];
  let told = new Map<string, string>();

  /** Each reason once, however often it is found, and that it is no more. */
  function tell(): void {
    const now = new Map(current.map(({ node, reason }) => [node, reason]));
    for (const [node, reason] of now)
      if (told.get(node) !== reason) log.warn({ node, reason }, 'pods of this node cannot be reached');
    for (const node of told.keys())
      if (!now.has(node)) log.info({ node }, 'this node is no longer kept from being reached');
    told = now;
  }

  return {
    record(skipped, names) {
      const others = names ? current.filter(({ node }) => !names.has(node) && table.peers.has(node)) : [];
      current = [...table.skipped(), ...others, ...skipped];
      const unreached = new Set(current.map(({ node }) => node));
      metrics?.peers.set([...table.peers.keys()].filter((node) => !unreached.has(node)).length);
      metrics?.skipped.set(unreached.size);
      // A node that has just come says how it is reached a moment later.
      if (!names) tell();
    },
    list: () => current,
  };
}

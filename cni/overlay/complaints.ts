import type { Logger } from '../../src/runtime/log.ts';

/** Tells of nodes that can't be reached: each reason once, however often it is found, and that it is no more. */
export function createComplaints(log: Logger): { tell(skipped: readonly { node: string; reason: string }[]): void } {
  let told = new Map<string, string>();
  return {
    tell(skipped) {
      const now = new Map(skipped.map(({ node, reason }) => [node, reason]));
      for (const [node, reason] of now)
        if (told.get(node) !== reason) log.warn({ node, reason }, 'pods of this node cannot be reached');
      for (const node of told.keys())
        if (!now.has(node)) log.info({ node }, 'this node is no longer kept from being reached');
      told = now;
    },
  };
}

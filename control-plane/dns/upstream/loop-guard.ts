import { randomBytes } from 'node:crypto';
import type { Logger } from '../../../src/runtime/log.ts';
import { TYPE } from '../wire.ts';
import { encodeName } from './follow.ts';
import { buildQuery, type Forwarder } from './forwarder.ts';

/**
 * Finds out whether the host's name servers ask us in turn (a resolver on the host that was pointed at the cluster's DNS): a question
 * that nobody else can have goes out; when it comes in, forwarding stops until the host's name servers change.
 */
export function createLoopGuard({ forwarder, log }: { forwarder: Forwarder; log: Logger }) {
  let probe: string | undefined;
  let found = false;

  return {
    /** Asks; call it whenever the name servers have changed. */
    async probe(): Promise<void> {
      found = false;
      forwarder.bar(undefined);
      const name = `${randomBytes(8).toString('hex')}.${randomBytes(8).toString('hex')}`;
      probe = name;
      await forwarder.forward(buildQuery(name, TYPE.HINFO, encodeName(name)), 'udp');
    },
    /** True when this question is our own, come back. */
    isProbe(name: string, type: number): boolean {
      if (type !== TYPE.HINFO || name !== probe) return false;
      if (!found) {
        found = true;
        const problem = "the host's name servers ask the cluster's DNS server in turn";
        forwarder.bar(problem);
        log.error(`${problem}: no name outside the cluster is answered until /etc/resolv.conf names other ones`);
      }
      return true;
    },
    found: () => found,
  };
}

export type LoopGuard = ReturnType<typeof createLoopGuard>;

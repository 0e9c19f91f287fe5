import type { Logger } from '../../src/runtime/log.ts';
import type { Firewalld } from '../firewall/firewalld.ts';
import type { HostRecordFile } from './host-record.ts';

/** firewalld's zone that lets everything pass. */
const TRUSTED = 'trusted';

/**
 * Where firewalld runs it rejects what is forwarded from links that it does not know, pods' among them, and an accept of another table
 * could not overrule that: the pods' ranges become sources of its trusted zone, as an administrator would do it by hand.
 *
 * In its running configuration only, so that nothing is left on a disk; a reload of it forgets them, and whoever follows it calls again. A range
 * that an administrator has put into a zone stays there, with what that zone allows.
 */
export interface TrustedSources {
  /** @returns what was changed. What firewalld refuses is logged: a node is more than its firewall. */
  ensure(): Promise<string[]>;
  /** Takes back what `ensure` gave. Idempotent. */
  remove(): Promise<void>;
}

export function createTrustedSources(
  { cidrs }: { cidrs: readonly string[] },
  deps: { firewalld: Firewalld; file: HostRecordFile; log: Logger },
): TrustedSources {
  const { firewalld, file, log } = deps;
  let said = '';

  async function add(): Promise<string[]> {
    if (!(await firewalld.isRunning())) return [];
    const zoneless = await firewalld.findZoneless(cidrs);
    if (zoneless.length === 0) return [];
    const record = file.read();
    if (record)
      file.write({ ...record, trustedSources: [...new Set([...(record.trustedSources ?? []), ...zoneless])] });
    await firewalld.addSources(TRUSTED, zoneless);
    return zoneless.map((cidr) => `firewalld zone ${TRUSTED}: ${cidr}`);
  }

  return {
    async ensure() {
      try {
        const changes = await add();
        said = '';
        return changes;
      } catch (error) {
        const message = (error as Error).message;
        if (message !== said) log.warn({ err: error }, 'firewalld does not let pods pass');
        said = message;
        return [];
      }
    },
    async remove() {
      const given = file.read()?.trustedSources ?? [];
      if (given.length > 0 && (await firewalld.isRunning())) await firewalld.removeSources(TRUSTED, given);
    },
  };
}

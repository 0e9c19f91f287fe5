import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import type { Runnable } from '../../src/runtime/run-together.ts';
import type { ClusterPki } from './cluster-pki.ts';

/** Years are at stake; a look is a read of twenty small files. */
const LOOK_MS = 3_600_000;
const RETRY_MS = 60_000;

export interface PkiRenewalOptions {
  current: ClusterPki;
  /** Renews the files that are due. */
  ensure(): Promise<ClusterPki>;
  /** Gives those a new pair who do not read the files by themselves; it may be told of the same one again. */
  use(pki: ClusterPki): Promise<void> | void;
}

/** A daemon may run for longer than its certificates do: what is past 80 % of its life is issued anew, every hour is looked, and whoever uses it changes over. */
export function createPkiRenewal(
  { current, ensure, use }: PkiRenewalOptions,
  { clock, log }: { clock: Clock; log: Logger },
): Runnable {
  return {
    async run(signal) {
      let used = namesOf(current);
      let pauseMs = LOOK_MS;
      while (!signal.aborted) {
        await clock.sleep(pauseMs, signal).catch(() => {});
        if (signal.aborted) return;
        try {
          const now = await ensure();
          const pairs = namesOf(now);
          const renewed = Object.keys(pairs).filter((name) => pairs[name] !== used[name]);
          if (renewed.length > 0) {
            await use(now);
            used = pairs;
            log.info({ renewed }, "certificates of the cluster's own programs are renewed");
          }
          pauseMs = LOOK_MS;
        } catch (error) {
          pauseMs = RETRY_MS;
          log.warn({ err: error }, "certificates of the cluster's own programs could not be renewed");
        }
      }
    },
  };
}

/** Certificates by the names of their owners. */
function namesOf(pki: ClusterPki): Record<string, string> {
  const pairs = Object.entries(pki).filter(([, value]) => typeof value === 'object' && 'certFile' in value);
  return Object.fromEntries(pairs.map(([name, { certPem }]) => [name, certPem]));
}

import { X509Certificate } from 'node:crypto';
import type { CertificatePair } from '../../src/auth/authority.ts';
import { retry } from '../../src/runtime/backoff.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';

export interface RotationOptions {
  /** For the log: `client` or `serving`. */
  kind: string;
  /** The pair in force; undefined: there is none yet, and one is asked for at once. */
  current: CertificatePair | undefined;
}

export interface RotationDependencies {
  /** Asks for a new one and waits for it. */
  request(signal: AbortSignal): Promise<CertificatePair>;
  /** Puts it into force. */
  use(pair: CertificatePair): Promise<void>;
  /** kubelet_certificate_manager_client_expiration_renew_errors or kubelet_server_expiration_renew_errors. */
  onFailure?(): void;
  clock: Clock;
  log: Logger;
  random?: () => number;
}

const RETRY = { initialMs: 2_000, maxMs: 300_000 };
/** Wall clocks are set, hosts sleep: how far off the end is gets asked this often. */
const LONGEST_SLEEP_MS = 3_600_000;

/**
 * Renews a certificate when 70 to 90 % of its life are over, at a time of its own so that a cluster's nodes do not all ask in one hour.
 *
 *     notBefore ───────────────── 70 % ─ here ─ 90 % ──── notAfter
 */
export function createRotation(options: RotationOptions, deps: RotationDependencies) {
  const { clock, log } = deps;
  const random = deps.random ?? Math.random;

  return {
    async run(signal: AbortSignal): Promise<void> {
      let pair = options.current;
      while (!signal.aborted) {
        try {
          if (pair) await sleepUntil(renewalMs(pair.certPem, random()), signal);
          const fresh: CertificatePair = await retry(() => deps.request(signal), {
            ...RETRY,
            clock,
            signal,
            onFailure(error, delayMs) {
              deps.onFailure?.();
              log.warn({ err: error, retryMs: delayMs }, `the ${options.kind} certificate could not be renewed`);
            },
          });
          await deps.use(fresh);
          pair = fresh;
          log.info(
            { notAfter: new X509Certificate(fresh.certPem).validTo },
            `the node has a new ${options.kind} certificate`,
          );
        } catch (error) {
          if (!signal.aborted) throw error;
        }
      }
    },
  };

  async function sleepUntil(whenMs: number, signal: AbortSignal): Promise<void> {
    for (;;) {
      const leftMs = whenMs - clock.nowMs();
      if (leftMs <= 0) return;
      await clock.sleep(Math.min(leftMs, LONGEST_SLEEP_MS), signal);
    }
  }
}

/** When a certificate is to be renewed, for a random number from 0 to 1: 70 to 90 % of its life (sheet §22). Pure. */
export function renewalMs(certPem: string, chance: number): number {
  const { validFromDate, validToDate } = new X509Certificate(certPem);
  const lifeMs = validToDate.getTime() - validFromDate.getTime();
  return validFromDate.getTime() + lifeMs * (0.7 + 0.2 * chance);
}

import { X509Certificate } from 'node:crypto';
import type { CertificatePair } from '../../src/auth/authority.ts';
import { retry } from '../../src/runtime/backoff.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import type { Runnable } from '../../src/runtime/run-together.ts';

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
  /** Why a certificate does not do any more although it is young: an address that it lacks. Asked after `check()` and now and then. */
  whyUnfit?(certPem: string): string | undefined;
  /** kubelet_certificate_manager_client_expiration_renew_errors or kubelet_server_expiration_renew_errors. */
  onFailure?(): void;
  clock: Clock;
  log: Logger;
  random?: () => number;
}

const RETRY = { initialMs: 2_000, maxMs: 300_000, jitter: 0.1 };
/** Wall clocks are set, hosts sleep: how far off the end is gets asked this often. */
const LONGEST_SLEEP_MS = 3_600_000;
/** A signer's certificates may be so short that the next one is due when it comes: the cluster is not asked without a pause. */
const SHORTEST_PAUSE_MS = 10_000;

export interface Rotation extends Runnable {
  /** Whether the certificate still fits is to be asked again, now. */
  check(): void;
}

/**
 * Renews a certificate when 70 to 90 % of its life are over, at a time of its own so that a cluster's nodes do not all ask in one hour.
 *
 *     notBefore ───────────────── 70 % ─ here ─ 90 % ──── notAfter
 */
export function createRotation(options: RotationOptions, deps: RotationDependencies): Rotation {
  const { clock, log } = deps;
  const random = deps.random ?? Math.random;
  let nap = new AbortController();

  return {
    check: () => nap.abort(),
    async run(signal: AbortSignal): Promise<void> {
      let pair = options.current;
      while (!signal.aborted) {
        try {
          if (pair) await untilDue(pair.certPem, signal);
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
          await clock.sleep(SHORTEST_PAUSE_MS, signal);
        } catch (error) {
          if (!signal.aborted) throw error;
        }
      }
    },
  };

  /** Returns when the certificate is to be replaced, by its age or because it does not fit. */
  async function untilDue(certPem: string, signal: AbortSignal): Promise<void> {
    const whenMs = renewalMs(certPem, random());
    for (;;) {
      nap = new AbortController();
      const leftMs = whenMs - clock.nowMs();
      if (leftMs <= 0) return;
      const reason = deps.whyUnfit?.(certPem);
      if (reason !== undefined) return log.info({ reason }, `the ${options.kind} certificate is replaced`);
      const woken = AbortSignal.any([signal, nap.signal]);
      await clock.sleep(Math.min(leftMs, LONGEST_SLEEP_MS), woken).catch((error) => {
        if (signal.aborted || !nap.signal.aborted) throw error;
      });
    }
  }
}

/** When a certificate is to be renewed, for a random number from 0 to 1: 70 to 90 % of its life (sheet §22). Pure. */
export function renewalMs(certPem: string, chance: number): number {
  const { validFromDate, validToDate } = new X509Certificate(certPem);
  const lifeMs = validToDate.getTime() - validFromDate.getTime();
  return validFromDate.getTime() + lifeMs * (0.7 + 0.2 * chance);
}

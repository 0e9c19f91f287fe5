import { X509Certificate } from 'node:crypto';
import type { Clock } from '../../src/runtime/clock.ts';
import { Counter, Gauge, Histogram, type Registry } from '../../src/runtime/metrics.ts';

export interface CertificateMetrics {
  clientRenewalFailed(): void;
  servingRenewalFailed(): void;
  /** The serving certificate was replaced; `beforePem` is the one before. */
  servingRotated(beforePem: string): void;
}

const MINUTE_S = 60;
const HOUR_S = 60 * MINUTE_S;
const DAY_S = 24 * HOUR_S;
/** Upstream's: from a minute to four years. */
const AGES_S = [MINUTE_S, HOUR_S, 4 * HOUR_S, ...[1, 7, 30, 90, 180, 360, 1440].map((days) => days * DAY_S)];

/** How long the node's certificates last, which alerts watch, and renewals that failed; a node without one of them lacks that series. */
export function registerCertificateMetrics(
  certificates: { clientCertPem(): string | undefined; servingCertPem(): string | undefined },
  { registry, clock }: { registry: Registry; clock: Clock },
): CertificateMetrics {
  const registers = [registry];
  const register = (which: 'client' | 'server', certPem: () => string | undefined) => {
    new Gauge({
      name: `kubelet_certificate_manager_${which}_ttl_seconds`,
      help: `Gauge of the TTL (time-to-live) of the Kubelet's ${which === 'client' ? 'client' : 'serving'} certificate. The value is in seconds until certificate expiry (negative if already expired).`,
      registers,
      collect() {
        const pem = certPem();
        this.reset();
        if (pem) this.set((new X509Certificate(pem).validToDate.getTime() - clock.nowMs()) / 1000);
        // A gauge without labels shows 0 by itself, which would be an alarm.
        else this.remove();
      },
    });
  };
  register('client', certificates.clientCertPem);
  register('server', certificates.servingCertPem);
  const client = new Counter({
    name: 'kubelet_certificate_manager_client_expiration_renew_errors',
    help: 'Counter of certificate renewal errors.',
    registers,
  });
  const serving = new Counter({
    name: 'kubelet_server_expiration_renew_errors',
    help: 'Counter of certificate renewal errors.',
    registers,
  });
  const rotation = new Histogram({
    name: 'kubelet_certificate_manager_server_rotation_seconds',
    help: 'Histogram of the number of seconds the previous certificate lived before being rotated.',
    buckets: AGES_S,
    registers,
  });
  return {
    clientRenewalFailed: () => client.inc(),
    servingRenewalFailed: () => serving.inc(),
    servingRotated(beforePem) {
      rotation.observe((clock.nowMs() - new X509Certificate(beforePem).validFromDate.getTime()) / 1000);
    },
  };
}

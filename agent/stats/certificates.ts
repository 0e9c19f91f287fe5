import { X509Certificate } from 'node:crypto';
import type { Clock } from '../../src/runtime/clock.ts';
import { Counter, Gauge, type Registry } from '../../src/runtime/metrics.ts';

export interface CertificateMetrics {
  clientRenewalFailed(): void;
  servingRenewalFailed(): void;
}

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
  return { clientRenewalFailed: () => client.inc(), servingRenewalFailed: () => serving.inc() };
}

import { X509Certificate } from 'node:crypto';
import type { Clock } from '../../src/runtime/clock.ts';
import { Gauge, type Registry } from '../../src/runtime/metrics.ts';

/** How long the node's certificates last, which alerts watch; a node without one of them lacks that series. */
export function registerCertificateMetrics(
  certificates: { clientCertPem?: string; servingCertPem?: string },
  { registry, clock }: { registry: Registry; clock: Clock },
): void {
  const register = (which: 'client' | 'server', certPem: string | undefined) => {
    if (!certPem) return;
    const notAfterMs = new X509Certificate(certPem).validToDate.getTime();
    new Gauge({
      name: `kubelet_certificate_manager_${which}_ttl_seconds`,
      help: `Gauge of the TTL (time-to-live) of the Kubelet's ${which === 'client' ? 'client' : 'serving'} certificate. The value is in seconds until certificate expiry (negative if already expired).`,
      registers: [registry],
      collect() {
        this.set((notAfterMs - clock.nowMs()) / 1000);
      },
    });
  };
  register('client', certificates.clientCertPem);
  register('server', certificates.servingCertPem);
}

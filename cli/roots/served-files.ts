import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { KubeletConfiguration } from '../../agent/config/kubelet-configuration.ts';
import type { AgentServer } from '../../agent/server/server.ts';
import type { CertificatePair } from '../../src/auth/authority.ts';
import { certificateSource } from '../../src/kube/credentials.ts';
import type { Runnable } from '../../src/runtime/run-together.ts';
import type { ProgramContext } from './context.ts';

const LOOK_MS = 60_000;

const fingerprint = (certPem: string) => new X509Certificate(certPem).fingerprint256;

/**
 * Whoever owns the files that the HTTPS port serves with may replace them (tlsCertFile, tlsPrivateKeyFile, clientCAFile): what is in them counts for new connections within a minute. Files
 * that are gone, torn or no certificates leave the last good ones in force.
 */
export function createServedFilesPart(
  options: {
    config: KubeletConfiguration;
    serving: CertificatePair;
    clientCaPem: string;
    /** Renews the pair in the files before it ends, where nobody else does. */
    renew?(): Promise<void>;
    /** PEM of what is served with now, which other parts change, too. */
    current(): string;
    onServing(pair: CertificatePair): void;
  },
  server: Pick<AgentServer, 'useCertificate' | 'useClientCa'>,
  { clock, log }: ProgramContext,
): Runnable {
  const { tlsCertFile, tlsPrivateKeyFile, authentication } = options.config;
  const { clientCAFile } = authentication.x509;
  const pairNow = certificateSource({ ...options.serving, certFile: tlsCertFile, keyFile: tlsPrivateKeyFile }, clock);
  let seen = fingerprint(options.serving.certPem);
  let clientCaPem = options.clientCaPem;

  function lookAtPair(): void {
    const now = pairNow();
    const { certPem, keyPem } = now;
    if (!certPem || !keyPem || fingerprint(certPem) === seen) return;
    // Only what changes in the files counts: a certificate by CSR may have taken their place meanwhile.
    seen = fingerprint(certPem);
    if (seen === fingerprint(options.current())) return;
    server.useCertificate({ certPem, keyPem });
    options.onServing({ certPem, keyPem });
    log.info({ tlsCertFile }, 'the HTTPS port has a new serving certificate');
  }

  function lookAtClientCa(): void {
    if (!clientCAFile) return;
    const text = readFileSync(clientCAFile, 'utf8');
    if (text === clientCaPem) return;
    // TLS itself would take a text without any certificate in silence, and then know nobody.
    fingerprint(text);
    server.useClientCa(text);
    clientCaPem = text;
    log.info({ clientCAFile }, 'the HTTPS port knows its clients by another authority');
  }

  return {
    async run(signal) {
      while (!signal.aborted) {
        await clock.sleep(LOOK_MS, signal).catch(() => {});
        if (signal.aborted) return;
        for (const look of [options.renew, lookAtPair, lookAtClientCa])
          try {
            await look?.();
          } catch (error) {
            log.warn({ err: error }, 'a file of the HTTPS port cannot be taken; what was before stays in force');
          }
      }
    },
  };
}

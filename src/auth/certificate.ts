// @peculiar/x509's container needs it before it loads.
import 'reflect-metadata';
import { X509Certificate } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import type { UserInfo } from './user.ts';

export interface CertificateSummary {
  readonly commonName: string;
  readonly organizations: readonly string[];
  readonly dnsNames: readonly string[];
  readonly ipAddresses: readonly string[];
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** Attribute that carries a user's UID since Kubernetes 1.33. */
const UID_ATTRIBUTE = '1.3.6.1.4.1.57683.2';

/** What a certificate (PEM or DER) says. Throws when it cannot be parsed. */
export function summarizeCertificate(certificate: string | Uint8Array): CertificateSummary {
  const parsed = new x509.X509Certificate(certificate as string);
  const names = parsed.getExtension(x509.SubjectAlternativeNameExtension)?.names.items ?? [];
  return {
    commonName: parsed.subjectName.getField('CN')[0] ?? '',
    organizations: parsed.subjectName.getField('O'),
    dnsNames: names.filter((name) => name.type === 'dns').map((name) => name.value),
    ipAddresses: names.filter((name) => name.type === 'ip').map((name) => name.value),
    notBeforeMs: parsed.notBefore.getTime(),
    notAfterMs: parsed.notAfter.getTime(),
  };
}

/** The user that a verified client certificate stands for: CN is the name, each O a group (sheet §12). */
export function certificateUser(certificate: string | Uint8Array): UserInfo | undefined {
  const parsed = new x509.X509Certificate(certificate as string);
  const username = parsed.subjectName.getField('CN')[0];
  if (!username) return undefined;
  const uid = parsed.subjectName.getField(UID_ATTRIBUTE)[0];
  return { username, ...(uid ? { uid } : {}), groups: parsed.subjectName.getField('O') };
}

/**
 * True when the certificate is not yet valid, expired, past `fraction` of its life (0.8 unless said), or not issued by
 * `caPem`: whoever holds it should ask for a new one.
 */
export function needsRenewal(certPem: string, options: { nowMs: number; caPem?: string; fraction?: number }): boolean {
  const parsed = new X509Certificate(certPem);
  const notBeforeMs = parsed.validFromDate.getTime();
  const notAfterMs = parsed.validToDate.getTime();
  const dueMs = notBeforeMs + (notAfterMs - notBeforeMs) * (options.fraction ?? 0.8);
  if (options.nowMs < notBeforeMs || options.nowMs >= dueMs) return true;
  return options.caPem !== undefined && !parsed.verify(new X509Certificate(options.caPem).publicKey);
}

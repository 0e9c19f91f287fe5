import type { CertificatePair } from '../../src/auth/authority.ts';
import { createCertificateRequest, type RequestedIdentity } from '../../src/auth/certificate-request.ts';
import type { KubeClient } from '../../src/kube/client.ts';
import { certificateSigningRequests } from '../../src/kube/resources.ts';
import type { CertificateSigningRequest } from '../../src/kube/schema/generated/types/certificates-v1.ts';
import type { Clock } from '../../src/runtime/clock.ts';

export interface NodeCertificateRequest {
  signerName: 'kubernetes.io/kube-apiserver-client-kubelet' | 'kubernetes.io/kubelet-serving';
  identity: RequestedIdentity;
}

/** The request was turned down; asking again as it is would end the same way. */
export class CertificateRefusedError extends Error {
  override readonly name = 'CertificateRefusedError';
}

/** Somebody may have to approve it by hand. */
const PATIENCE_MS = 15 * 60_000;
const LOOK_MS = 1_000;
/** An ECDSA key enciphers none, but controller managers before Kubernetes 1.22 approve and sign just this set; newer ones take it, too. */
const USAGES = {
  'kubernetes.io/kube-apiserver-client-kubelet': ['digital signature', 'key encipherment', 'client auth'],
  'kubernetes.io/kubelet-serving': ['digital signature', 'key encipherment', 'server auth'],
} as const;

/**
 * Asks the API server for a certificate over a new key and waits until it is issued (upstream: 15 minutes). Throws CertificateRefusedError when it is denied
 * or cannot be signed, an Error when nobody decides in time. The key exists only here.
 */
export async function requestNodeCertificate(
  { signerName, identity }: NodeCertificateRequest,
  { client, clock, signal }: { client: KubeClient; clock: Clock; signal: AbortSignal },
): Promise<CertificatePair> {
  const { requestPem, keyPem } = await createCertificateRequest(identity);
  const created = await client.create(
    certificateSigningRequests,
    {
      metadata: { generateName: 'csr-' },
      spec: { request: Buffer.from(requestPem).toString('base64'), signerName, usages: [...USAGES[signerName]] },
    },
    { signal },
  );
  const name = created.metadata.name ?? '';
  const deadlineMs = clock.monotonicMs() + PATIENCE_MS;
  for (let delayMs = 50; ; delayMs = Math.min(delayMs * 2, LOOK_MS)) {
    const request = await client.get(certificateSigningRequests, { name, signal });
    throwIfRefused(request);
    const { certificate } = request.status ?? {};
    if (certificate) return { certPem: Buffer.from(certificate, 'base64').toString(), keyPem };
    if (clock.monotonicMs() > deadlineMs)
      throw new Error(
        `nobody has approved the CertificateSigningRequest ${name} (${signerName}) for ${PATIENCE_MS / 60_000} minutes: kubectl certificate approve ${name}`,
      );
    await clock.sleep(delayMs, signal);
  }
}

function throwIfRefused({ metadata, status }: CertificateSigningRequest): void {
  const verdict = status?.conditions?.find(({ type }) => type === 'Denied' || type === 'Failed');
  if (verdict)
    throw new CertificateRefusedError(
      `the CertificateSigningRequest ${metadata.name} was ${verdict.type === 'Denied' ? 'denied' : 'not signed'}: ${verdict.message || verdict.reason || 'no reason given'}`,
    );
}

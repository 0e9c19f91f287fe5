import type { SignedUsage } from '../../src/auth/authority.ts';
import type { ParsedCertificateRequest } from '../../src/auth/certificate-request.ts';
import type { CertificateSigningRequestSpec } from '../../src/kube/schema/generated/types/certificates-v1.ts';

/** Signers of the control plane itself (KEP-1513); others are somebody else's. */
export const CLIENT_SIGNER = 'kubernetes.io/kube-apiserver-client';
export const KUBELET_CLIENT_SIGNER = 'kubernetes.io/kube-apiserver-client-kubelet';
export const KUBELET_SERVING_SIGNER = 'kubernetes.io/kubelet-serving';

const NODE_USER = 'system:node:';
const NODES = 'system:nodes';
const BASIC: readonly string[] = ['digital signature', 'key encipherment'];

/**
 * Why a signer does not sign a request, in upstream's words; undefined: it does. An approval alone does not make it right: whoever approved may have
 * looked at something else.
 */
export function whyNotSigned(
  { signerName, usages = [], username }: CertificateSigningRequestSpec,
  request: ParsedCertificateRequest,
): string | undefined {
  const allowed = (extended: SignedUsage) => usages.every((usage) => BASIC.includes(usage) || usage === extended);
  switch (signerName) {
    case CLIENT_SIGNER:
      return allowed('client auth') && usages.includes('client auth')
        ? undefined
        : 'usages did not match "client auth" with "digital signature" and "key encipherment"';
    case KUBELET_CLIENT_SIGNER: {
      const problem = whyNoNode(request);
      if (problem) return problem;
      if (request.dnsNames.length + request.ipAddresses.length > 0) return 'subject alternative names are not allowed';
      return allowed('client auth') && usages.includes('client auth') && usages.includes('digital signature')
        ? undefined
        : 'usages did not match [client auth digital signature]';
    }
    case KUBELET_SERVING_SIGNER: {
      const problem = whyNoNode(request);
      if (problem) return problem;
      if (username !== request.commonName) return 'common name of the request is not the name of its sender';
      if (request.dnsNames.length + request.ipAddresses.length === 0) return 'DNS or IP subjectAltName is required';
      return allowed('server auth') && usages.includes('server auth') && usages.includes('digital signature')
        ? undefined
        : 'usages did not match [digital signature server auth]';
    }
    default:
      return `signer ${signerName} is not one of this control plane`;
  }
}

/** The node that a subject names; undefined when it names none. */
export function nodeOfSubject({ commonName }: Pick<ParsedCertificateRequest, 'commonName'>): string | undefined {
  return commonName.startsWith(NODE_USER) ? commonName.slice(NODE_USER.length) || undefined : undefined;
}

function whyNoNode(request: ParsedCertificateRequest): string | undefined {
  if (request.organizations.length !== 1 || request.organizations[0] !== NODES)
    return `subject organization is not ${NODES}`;
  if (nodeOfSubject(request) === undefined) return `subject common name does not begin with ${NODE_USER}`;
  if (request.otherNames.length > 0) return 'email and URI subjectAltNames are not allowed';
  return undefined;
}

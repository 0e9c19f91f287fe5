import { type CertificateAuthority, type SignedUsage, signCertificateRequest } from '../../../src/auth/authority.ts';
import { parseCertificateRequest } from '../../../src/auth/certificate-request.ts';
import { certificateSigningRequests as resource } from '../../../src/kube/resources.ts';
import {
  CLIENT_SIGNER,
  KUBELET_CLIENT_SIGNER,
  KUBELET_SERVING_SIGNER,
  whyNotSigned,
} from '../../certificates/signers.ts';
import { type Controller, type ControllerDependencies, createReconciler } from '../controller.ts';

const OWN_SIGNERS: readonly string[] = [CLIENT_SIGNER, KUBELET_CLIENT_SIGNER, KUBELET_SERVING_SIGNER];
/** `--cluster-signing-duration`: a year, or less where a request asks for less. */
const LONGEST_SECONDS = 365 * 86_400;

export interface SignerOptions {
  authority: CertificateAuthority;
}

/** Issues what has been approved, where the signer is one of the control plane's own. */
export function createCertificateSigner(options: SignerOptions, dependencies: ControllerDependencies): Controller {
  const { client, clock, informers } = dependencies;
  const requests = informers.informer(resource);
  const controller = createReconciler(
    { name: 'certificatesigningrequest-signing-controller', inputs: [requests], reconcile },
    dependencies,
  );
  const look = ({ metadata }: { metadata: { name?: string } }) => controller.queue.add(metadata.name!);
  requests.subscribe({ added: look, updated: (_, request) => look(request) });

  async function reconcile(name: string): Promise<void> {
    const request = requests.get(name);
    if (!request || request.status?.certificate || !OWN_SIGNERS.includes(request.spec.signerName)) return;
    const conditions = request.status?.conditions ?? [];
    if (conditions.some(({ type }) => type === 'Denied' || type === 'Failed')) return;
    if (!conditions.some(({ type }) => type === 'Approved')) return;
    const pem = Buffer.from(request.spec.request, 'base64').toString();
    const status = await parseCertificateRequest(pem).then(
      async (parsed) => {
        const why = whyNotSigned(request.spec, parsed);
        if (why) return failed(why);
        const certificate = await signCertificateRequest(options.authority, parsed, {
          usages: (request.spec.usages ?? []) as SignedUsage[],
          seconds: Math.min(request.spec.expirationSeconds ?? LONGEST_SECONDS, LONGEST_SECONDS),
          nowMs: clock.nowMs(),
        });
        return { conditions, certificate: Buffer.from(certificate).toString('base64') };
      },
      (error: Error) => failed(`unable to parse the request: ${error.message}`),
    );
    await client.replace(resource, { ...request, status }, { subresource: 'status' });

    function failed(message: string) {
      return {
        conditions: [
          ...conditions,
          { type: 'Failed', status: 'True' as const, reason: 'SignerValidationFailure', message },
        ],
      };
    }
  }

  return controller;
}

import { type ParsedCertificateRequest, parseCertificateRequest } from '../../../src/auth/certificate-request.ts';
import {
  nodes as nodeResource,
  certificateSigningRequests as resource,
  subjectAccessReviews,
} from '../../../src/kube/resources.ts';
import type { CertificateSigningRequest } from '../../../src/kube/schema/generated/types/certificates-v1.ts';
import type { Node } from '../../../src/kube/types.ts';
import {
  KUBELET_CLIENT_SIGNER,
  KUBELET_SERVING_SIGNER,
  nodeOfSubject,
  whyNotSigned,
} from '../../certificates/signers.ts';
import { type Controller, type ControllerDependencies, createReconciler } from '../controller.ts';

const SERVING_MESSAGE = 'Auto approving kubelet serving certificate: its names are those of its own Node object.';

/**
 * Approves what nodes ask for: client certificates of those who may have them (upstream's nodeclient and selfnodeclient), and, beyond upstream,
 * serving certificates for just the names and addresses that the asking node's own object has (ADR 30). The rest waits for a person.
 */
export function createCertificateApprover(dependencies: ControllerDependencies): Controller {
  const { client, informers } = dependencies;
  const requests = informers.informer(resource);
  const nodes = informers.informer(nodeResource);
  const controller = createReconciler(
    { name: 'certificatesigningrequest-approving-controller', inputs: [requests, nodes], reconcile },
    dependencies,
  );
  const { queue } = controller;
  requests.subscribe({ added: ({ metadata }) => queue.add(metadata.name!) });
  // A node that asks before its addresses are known is looked at again when they are.
  nodes.subscribe({
    added: retryWaiting,
    updated: (old, node) => addressesOf(old).join() !== addressesOf(node).join() && retryWaiting(),
  });

  function retryWaiting(): void {
    for (const request of requests.list()) if (isWaiting(request)) queue.add(request.metadata.name!);
  }

  async function reconcile(name: string): Promise<void> {
    const request = requests.get(name);
    if (!request || !isWaiting(request)) return;
    const parsed = await parseCertificateRequest(pemOf(request)).catch(() => undefined);
    if (!parsed || whyNotSigned(request.spec, parsed) !== undefined) return;
    const message = await whyApproved(request, parsed);
    if (!message) return;
    const conditions = [
      ...(request.status?.conditions ?? []),
      { type: 'Approved', status: 'True' as const, reason: 'AutoApproved', message },
    ];
    await client.replace(
      resource,
      { ...request, status: { ...request.status, conditions } },
      { subresource: 'approval' },
    );
  }

  async function whyApproved(
    { spec }: CertificateSigningRequest,
    parsed: ParsedCertificateRequest,
  ): Promise<string | undefined> {
    if (spec.signerName === KUBELET_CLIENT_SIGNER) {
      if (spec.username === parsed.commonName && (await mayCreate(spec, 'selfnodeclient')))
        return 'Auto approving self kubelet client certificate after SubjectAccessReview.';
      if (await mayCreate(spec, 'nodeclient'))
        return 'Auto approving kubelet client certificate after SubjectAccessReview.';
    }
    if (spec.signerName === KUBELET_SERVING_SIGNER) {
      const node = nodes.get(nodeOfSubject(parsed) ?? '');
      const own = node && new Set(addressesOf(node));
      if (own && [...parsed.dnsNames, ...parsed.ipAddresses].every((one) => own.has(one))) return SERVING_MESSAGE;
    }
    return undefined;
  }

  async function mayCreate(
    { username, uid, groups, extra }: CertificateSigningRequest['spec'],
    subresource: string,
  ): Promise<boolean> {
    const resourceAttributes = {
      group: resource.group,
      resource: resource.plural,
      verb: 'create',
      version: '*',
      subresource,
    };
    const spec = { user: username, uid, groups, extra, resourceAttributes };
    const { status } = await client.create(subjectAccessReviews, { metadata: {}, spec });
    return status?.allowed ?? false;
  }

  return controller;
}

function isWaiting({ status }: CertificateSigningRequest): boolean {
  return !status?.certificate && !status?.conditions?.some(({ type }) => type === 'Approved' || type === 'Denied');
}

function addressesOf({ metadata, status }: Node): string[] {
  return [metadata.name, ...(status?.addresses ?? []).map(({ address }) => address)];
}

const pemOf = ({ spec }: CertificateSigningRequest) => Buffer.from(spec.request, 'base64').toString();

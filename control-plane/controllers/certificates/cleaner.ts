import { X509Certificate } from 'node:crypto';
import { isNotFound } from '../../../src/kube/errors.ts';
import { certificateSigningRequests as resource } from '../../../src/kube/resources.ts';
import type { CertificateSigningRequest } from '../../../src/kube/schema/generated/types/certificates-v1.ts';
import { type Controller, type ControllerDependencies, createReconciler } from '../controller.ts';

const HOUR_MS = 3_600_000;
const DECIDED_MS = HOUR_MS;
const PENDING_MS = 24 * HOUR_MS;
/** Upstream's; what is left is asked for once an hour, here as often as it costs nothing. */
const PERIOD_MS = 10 * 60_000;
const ROUND = 'all';

/** Removes requests that nobody needs any more: decided an hour ago, unanswered for a day, or with a certificate that has ended. */
export function createCertificateCleaner(dependencies: ControllerDependencies): Controller {
  const { client, clock, informers } = dependencies;
  const requests = informers.informer(resource);
  const controller = createReconciler(
    { name: 'certificatesigningrequest-cleaner-controller', inputs: [requests], concurrency: 1, reconcile },
    dependencies,
  );
  controller.queue.addAfter(ROUND, PERIOD_MS);

  async function reconcile(): Promise<void> {
    controller.queue.addAfter(ROUND, PERIOD_MS);
    for (const request of requests.list()) {
      if (!isOver(request, clock.nowMs())) continue;
      const { name, uid } = request.metadata;
      await client.delete(resource, { name: name!, uid }).catch((error) => {
        if (!isNotFound(error)) throw error;
      });
    }
  }

  return controller;
}

/** Whether a request is history at that time. Pure. */
export function isOver({ metadata, status }: CertificateSigningRequest, nowMs: number): boolean {
  if (status?.certificate) {
    const { validToDate } = new X509Certificate(Buffer.from(status.certificate, 'base64'));
    if (validToDate.getTime() < nowMs) return true;
  }
  const decisions = (status?.conditions ?? []).filter(({ type }) => ['Approved', 'Denied', 'Failed'].includes(type));
  if (decisions.length === 0) return nowMs - Date.parse(metadata.creationTimestamp ?? '') > PENDING_MS;
  // An approved one that is not signed waits on: its signer may be away.
  const isSettled = status?.certificate || decisions.some(({ type }) => type !== 'Approved');
  const newestMs = Math.max(...decisions.map(({ lastUpdateTime }) => Date.parse(lastUpdateTime ?? '') || 0));
  return Boolean(isSettled) && nowMs - newestMs > DECIDED_MS;
}

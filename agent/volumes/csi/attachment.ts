import type { VolumeAttachment } from '../../../src/kube/types.ts';
import type { Clock } from '../../../src/runtime/clock.ts';
import { AttachLimitError, RESOURCE_EXHAUSTED } from './attach-limit.ts';

/** How long one look waits; the pod is tried again then, and meanwhile may be deleted. */
const WAIT_MS = 10_000;
const POLL_MS = 250;

/**
 * Waits a little until the driver's external attacher has attached the volume to this node, as a VolumeAttachment tells.
 * @returns what the attacher told for the driver
 * @throws AttachLimitError when no more can be attached; else with the attacher's error, or that the attachment is still being waited for
 */
export async function attachedContext(
  name: string,
  { api, clock }: { api: { attachment(name: string): Promise<VolumeAttachment | undefined> }; clock: Clock },
  signal?: AbortSignal,
): Promise<Record<string, string>> {
  const deadlineMs = clock.monotonicMs() + WAIT_MS;
  for (;;) {
    const attachment = await api.attachment(name);
    const { status } = attachment ?? {};
    if (status?.attached && !attachment?.metadata.deletionTimestamp) return status.attachmentMetadata ?? {};
    if (status?.attachError?.errorCode === RESOURCE_EXHAUSTED)
      throw new AttachLimitError(status.attachError.message ?? 'the driver has no room for another volume');
    if (status?.attachError?.message) throw new Error(status.attachError.message);
    if (clock.monotonicMs() >= deadlineMs)
      throw new Error(
        attachment
          ? `volume attachment ${name} is being waited for: ${attachment.spec.attacher} has not attached the volume yet`
          : `volume attachment ${name} is being waited for: the attach/detach controller has not made it yet`,
      );
    await clock.sleep(POLL_MS, signal);
  }
}

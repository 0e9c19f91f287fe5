import type { NetworkStatus, PodAttachment, PodNetwork } from '../../agent/pods/ports.ts';

export interface FakePodNetwork extends PodNetwork {
  /** By sandbox id. */
  attachments: Map<string, PodAttachment & { ips: string[] }>;
  setStatus(status: NetworkStatus): void;
  /** The next attach throws this. */
  failNext(error: Error): void;
}

/** Hands out addresses and keeps the books; touches no link. Give the same `attachments` to a second one to play a restart. */
export function createFakePodNetwork(attachments: FakePodNetwork['attachments'] = new Map()): FakePodNetwork {
  let status: NetworkStatus = { ready: true };
  let failure: Error | undefined;
  let next = 2;
  return {
    attachments,
    setStatus: (value) => {
      status = value;
    },
    failNext: (error) => {
      failure = error;
    },
    status: () => status,
    async attach(attachment) {
      if (failure) {
        const error = failure;
        failure = undefined;
        throw error;
      }
      const taken = new Set([...attachments.values()].flatMap((one) => one.ips));
      while (taken.has(`10.244.0.${next}`)) next++;
      const ips = [`10.244.0.${next++}`];
      attachments.set(attachment.sandboxId, { ...attachment, ips });
      return { ips };
    },
    async detach({ sandboxId }) {
      attachments.delete(sandboxId);
    },
    ips: (sandboxId) => attachments.get(sandboxId)?.ips,
    async collect(live) {
      for (const id of attachments.keys()) if (!live.has(id)) attachments.delete(id);
    },
  };
}

import {
  type AttachmentKey,
  type AttachRequest,
  CNI_ERROR,
  CniError,
  type CniResult,
  type DetachRequest,
} from '../../types.ts';
import type { LeaseKey } from './lease-files.ts';
import type { DhcpLeases } from './leases.ts';
import { type ClientOptions, type ResultOptions, resultOf, withResultOptions } from './options.ts';

/** What a configuration says of DHCP. */
export interface DhcpConfig {
  network: string;
  /** Where a daemon listens that keeps leases. */
  socketPath: string;
  options: ClientOptions;
  result: ResultOptions;
  /** The whole of it, for a daemon. */
  raw: Readonly<Record<string, unknown>>;
}

/** Who keeps leases: this process, or a daemon. */
export interface LeaseHolder {
  /** The attachment's lease, an existing one as it is. */
  allocate(config: DhcpConfig, request: AttachRequest, signal?: AbortSignal): Promise<CniResult>;
  release(config: DhcpConfig, request: DetachRequest): Promise<void>;
  /**
   * Throws when the attachment has no lease, or one of another address. One that nobody keeps is taken over, if the server still agrees.
   * @param address of the container; undefined when it is not known
   */
  check(config: DhcpConfig, request: AttachRequest, address: string | undefined): Promise<void>;
  /** Releases what is in no list. */
  collect(config: DhcpConfig, valid: readonly AttachmentKey[]): Promise<void>;
}

export const leaseKeyOf = ({ network }: DhcpConfig, { containerId, ifname }: AttachmentKey): LeaseKey => ({
  network,
  containerId,
  ifname,
});

/** Leases that this process keeps. */
export function createLeaseHolder(leases: DhcpLeases): LeaseHolder {
  return {
    async allocate(config, request, signal) {
      const key = leaseKeyOf(config, request);
      const ack = await leases.allocate({ key, netns: request.netns, options: config.options }, signal);
      try {
        return withResultOptions(resultOf(ack), config.result);
      } catch (error) {
        await leases.release(key);
        throw error;
      }
    },

    release: (config, request) => leases.release(leaseKeyOf(config, request)),

    async check(config, request, address) {
      const key = leaseKeyOf(config, request);
      const held = leases.held(key);
      if (held) return checkAddress(held.yourAddress, address);
      if (address === undefined)
        // Not code 3, which tells a runtime that there is nothing to detach.
        throw new CniError(CNI_ERROR.unknown, `dhcp: no lease is kept for ${request.containerId} ${request.ifname}`);
      // Another keeper was here before.
      await leases.allocate({ key, netns: request.netns, options: config.options, only: address });
    },

    collect: (config, valid) => leases.collect(config.network, valid),
  };
}

/** @throws CniError 0 unless the container has what is leased. */
export function checkAddress(leased: string, address: string | undefined): void {
  if (address === undefined || leased === address) return;
  throw new CniError(CNI_ERROR.unknown, `dhcp: the lease is of ${leased}, the container has ${address}`);
}

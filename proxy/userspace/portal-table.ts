import type { PortalSet } from './portals.ts';

/** Where portals stand in the kernel, for one IP family. */
export interface PortalTable {
  readonly kind: 'nftables' | 'iptables';
  /** Finds out by trying whether the kernel translates addresses; leaves nothing behind. @throws when it does not */
  probe(): Promise<void>;
  /** Replaces all portals in one transaction. */
  apply(set: PortalSet, signal?: AbortSignal): Promise<void>;
  stands(signal?: AbortSignal): Promise<boolean>;
  /** Idempotent. */
  remove(): Promise<void>;
}

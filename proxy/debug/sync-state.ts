import type { IpFamily } from '../../src/netfilter/tables.ts';
import type { NodeRenderOptions } from '../mode.ts';
import type { ProxySnapshot } from '../state/model.ts';

/** What the kernel holds as far as the proxy knows: the last sync of a family that went through. */
export interface FamilyState {
  snapshot: ProxySnapshot;
  node: NodeRenderOptions;
  /** Wall time, milliseconds. */
  syncedMs: number;
}

/** Remembers what each family has last synced, and when the rules of each Service were last written or compared with the kernel. */
export interface SyncState {
  synced(
    family: IpFamily,
    done: { snapshot: ProxySnapshot; node: NodeRenderOptions; dirty: ReadonlySet<string>; report: { kind: string } },
    nowMs: number,
  ): void;
  of(family: IpFamily): FamilyState | undefined;
  /** `service` is `ns/name`. Wall time, milliseconds. */
  syncedMs(family: IpFamily, service: string): number | undefined;
}

export function createSyncState(): SyncState {
  const families = new Map<IpFamily, FamilyState & { fullMs: number; services: Map<string, number> }>();
  return {
    synced(family, { snapshot, node, dirty, report }, nowMs) {
      const before = families.get(family);
      const isFull = report.kind === 'full' || !before;
      // A full sync looks at every Service: only those that have changed since need a time of their own.
      const services = isFull ? new Map<string, number>() : before.services;
      if (!isFull)
        for (const name of dirty)
          if (snapshot.services.has(name)) services.set(name, nowMs);
          else services.delete(name);
      families.set(family, {
        snapshot,
        node,
        syncedMs: nowMs,
        fullMs: isFull ? nowMs : before.fullMs,
        services,
      });
    },
    of: (family) => families.get(family),
    syncedMs(family, service) {
      const state = families.get(family);
      return state?.snapshot.services.has(service) ? (state.services.get(service) ?? state.fullMs) : undefined;
    },
  };
}

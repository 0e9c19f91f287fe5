import type { OverlayBackend } from './backend.ts';

/** The backend alloc: the ways between the nodes are somebody else's (a cloud's route table); only subnet.env and the annotations are ours. */
export function createAlloc(): OverlayBackend {
  return {
    type: 'alloc',
    ensure: async ({ uplink }) => ({ mtu: uplink.mtu, data: {} }),
    sync: async () => ({ changed: 0, skipped: [] }),
    remove: async () => {},
    close() {},
  };
}

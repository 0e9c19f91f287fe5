import type { Signal } from './signals.ts';
import type { DiskPart } from './usage.ts';

/**
 * `shared`: the agent's root directory and the Engine's lie on one file system. `imagefs`: the Engine has one of its own, with images,
 * writable layers and (the Engine's way) the containers' logs. Layers and images are never apart.
 */
export type DiskLayout = 'shared' | 'imagefs';

/** What of a pod takes room on the file system that a disk signal speaks of. */
export function partsOn(signal: Signal, layout: DiskLayout): readonly DiskPart[] {
  if (layout === 'shared') return ['rootfs', 'logs', 'volumes'];
  return signal.startsWith('nodefs.') ? ['volumes'] : ['rootfs', 'logs'];
}

/** Whether ended containers and unused images take room there: they go before any pod does. */
export function canReclaim(signal: Signal, layout: DiskLayout): boolean {
  if (signal.startsWith('nodefs.')) return layout === 'shared';
  return signal.startsWith('imagefs.') || signal.startsWith('containerfs.');
}

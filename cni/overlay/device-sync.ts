/**
 * The passes of a backend whose routes lead over a device of its own. Somebody may delete the device at any time, and what was remembered of the
 * kernel goes with it: then a pass over some nodes becomes one over all, and where no pass comes the device is made anew all the same.
 */
import { isNetlinkError } from '../../src/linux/netlink/socket.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { createSerial } from '../../src/runtime/serial.ts';
import type { Peer, SyncOutcome } from './backend.ts';
import { recreateWhenDeleted } from './recreation.ts';

type Peers = ReadonlyMap<string, Peer>;

export interface DeviceSync {
  /** One at a time with all passes: a change of a peer must not meet a device that is half-way made anew. */
  serial: ReturnType<typeof createSerial>;
  /** What we remember is of a device that is no more: the next pass is over everything. */
  forgetKernel(): void;
  /** Nobody wants the device any more: it is not made anew. */
  forgetPeers(): void;
  sync(peers: Peers, changed?: ReadonlySet<string>): Promise<SyncOutcome>;
  run(signal: AbortSignal): Promise<void>;
}

export function createDeviceSync(
  device: {
    /** For the log: `VXLAN`. */
    kind: string;
    isOurs(linkIndex: number, name: string): boolean;
    /** Makes the device or finds it again, as of the last `ensure` of the backend. */
    ensure(): Promise<void>;
    /** Compares all peers with the kernel; the device is there. */
    syncAll(peers: Peers): Promise<SyncOutcome>;
    /** Writes these nodes' part, by what it remembers. @throws NetlinkError ENODEV when the device went. */
    syncSome(peers: Peers, names: ReadonlySet<string>): Promise<SyncOutcome>;
  },
  deps: { log: Logger; clock: Clock; hostNetns?: string },
): DeviceSync {
  const serial = createSerial();
  /** Of the last sync: what a device that is made anew gets back. */
  let known: Peers | undefined;
  let isStale = true;

  async function syncFull(peers: Peers): Promise<SyncOutcome> {
    try {
      await device.ensure();
      // From here on: who deletes the device meanwhile makes it stale again.
      isStale = false;
      return await device.syncAll(peers);
    } catch (error) {
      isStale = true;
      throw error;
    }
  }

  async function syncChanged(peers: Peers, changed: ReadonlySet<string>): Promise<SyncOutcome> {
    try {
      return await device.syncSome(peers, changed);
    } catch (error) {
      // The device was deleted a moment ago.
      if (!isNetlinkError(error, 'ENODEV')) throw error;
      return syncFull(peers);
    }
  }

  return {
    serial,
    forgetKernel() {
      isStale = true;
    },
    forgetPeers() {
      isStale = true;
      known = undefined;
    },
    sync: (peers, changed) =>
      serial(() => {
        known = peers;
        return changed && !isStale ? syncChanged(peers, changed) : syncFull(peers);
      }),
    run: (signal) =>
      recreateWhenDeleted(
        {
          kind: device.kind,
          hostNetns: deps.hostNetns,
          log: deps.log,
          isOurs: device.isOurs,
          onDeleted() {
            isStale = true;
          },
          recreate: () =>
            serial(async () => {
              if (signal.aborted || !isStale || !known) return undefined;
              // Nothing to write: it was us who made another one.
              return (await syncFull(known)).changed || undefined;
            }),
        },
        deps.clock,
        signal,
      ),
  };
}

/**
 * The neighbour and forwarding entries of the VXLAN devices: what is wanted for each leg (a node in one family) in, netlink messages out.
 * Two entries a leg; a change of one leg costs its own messages only, a full comparison two dumps a device.
 *
 * Entries are written before the route that uses them, and removed after it: `put`, then the routes, then `sweep`.
 */
import {
  deleteForwardingEntry,
  listForwardingEntries,
  setForwardingEntry,
} from '../../../src/linux/netlink/forwarding-entries.ts';
import type { Rtnetlink } from '../../../src/linux/netlink/rtnetlink.ts';
import { isNetlinkError } from '../../../src/linux/netlink/socket.ts';
import type { Tunnel } from './peer-plan.ts';

export interface Tunnels {
  /**
   * Writes what differs from what was written before. A leg whose entries another leg has is refused.
   * @returns entries written, and by leg why it has none.
   */
  put(legs: ReadonlyMap<string, Tunnel | undefined>): Promise<{ changed: number; failed: Map<string, string> }>;
  /** Reads the devices' tables; what nobody of `put` knows is to be swept, what is missing is written at the next `put`. */
  read(linkIndexes: readonly number[]): Promise<void>;
  /** Forgets a leg's tunnel, whose route could not be made: its entries go with the next sweep. */
  drop(leg: string): void;
  /** Removes the entries that no leg has. @returns how many. */
  sweep(): Promise<number>;
  legs(): ReadonlyMap<string, Tunnel>;
}

/** Messages that are under way at once: the kernel's answers to all of them must fit into the socket's buffer. */
const BATCH = 64;

type Entry =
  | { kind: 'neighbour'; linkIndex: number; address: string; mac: string }
  | { kind: 'forwarding'; linkIndex: number; mac: string; destination: string };

export function createTunnels(netlink: Rtnetlink): Tunnels {
  const wanted = new Map<string, Tunnel>();
  /** Which leg an entry is of: a MAC or an address leads to one node. */
  const owners = new Map<string, string>();
  /** As the kernel has them, by all that we know. */
  const present = new Map<string, Entry>();
  /** What may have nobody any more: looked at by the next sweep. */
  const loose = new Set<string>();

  function claim(leg: string, tunnel: Tunnel): string | undefined {
    const entries = entriesOf(tunnel);
    for (const entry of entries) {
      const owner = owners.get(keyOf(entry));
      if (owner !== undefined && owner !== leg) return describeClash(entry, owner);
    }
    for (const entry of entries) owners.set(keyOf(entry), leg);
    wanted.set(leg, tunnel);
    return undefined;
  }

  function release(leg: string): void {
    const tunnel = wanted.get(leg);
    if (!tunnel) return;
    for (const key of entriesOf(tunnel).map(keyOf)) {
      if (owners.get(key) === leg) owners.delete(key);
      loose.add(key);
    }
    wanted.delete(leg);
  }

  async function write(entry: Entry): Promise<void> {
    if (entry.kind === 'neighbour') await netlink.setNeighbour(entry);
    else await setForwardingEntry(netlink, entry);
    present.set(keyOf(entry), entry);
  }

  async function remove(entry: Entry): Promise<void> {
    try {
      if (entry.kind === 'neighbour') await netlink.deleteNeighbour(entry);
      else await deleteForwardingEntry(netlink, entry);
    } catch (error) {
      // Gone already, or with its device.
      if (!isNetlinkError(error, 'ENOENT', 'ENODEV')) throw error;
    }
    present.delete(keyOf(entry));
  }

  return {
    async put(legs) {
      const failed = new Map<string, string>();
      const before = new Map([...legs.keys()].map((leg) => [leg, wanted.has(leg)]));
      for (const leg of legs.keys()) release(leg);
      // Who had its entries before keeps them: a newcomer with the same MAC does not take an old node's traffic.
      const ordered = [...legs].sort(([one], [other]) => Number(before.get(other)) - Number(before.get(one)));
      const missing: { leg: string; entry: Entry }[] = [];
      for (const [leg, tunnel] of ordered) {
        const clash = tunnel && claim(leg, tunnel);
        if (clash) failed.set(leg, clash);
        if (!tunnel || clash) continue;
        for (const entry of entriesOf(tunnel))
          if (!isEqual(present.get(keyOf(entry)), entry)) missing.push({ leg, entry });
      }
      let changed = 0;
      for (let at = 0; at < missing.length; at += BATCH) {
        const batch = missing.slice(at, at + BATCH);
        const ends = await Promise.allSettled(batch.map(({ entry }) => write(entry)));
        for (const [index, end] of ends.entries()) {
          if (end.status === 'fulfilled') changed++;
          else if (isNetlinkError(end.reason, 'ENODEV')) throw end.reason;
          else failed.set(batch[index]!.leg, messageOf(end.reason));
        }
      }
      for (const leg of failed.keys()) release(leg);
      return { changed, failed };
    },

    async read(linkIndexes) {
      present.clear();
      loose.clear();
      for (const linkIndex of linkIndexes) {
        // Others are the kernel's own: multicast groups, and what it found out itself.
        for (const { address, mac, state } of await netlink.listNeighbours({ linkIndex }))
          if (state === 'permanent' && mac) remember({ kind: 'neighbour', linkIndex, address, mac });
        for (const { mac, destination, permanent } of await listForwardingEntries(netlink, linkIndex))
          if (permanent && destination) remember({ kind: 'forwarding', linkIndex, mac, destination });
      }
    },

    drop: release,

    async sweep() {
      const gone = [...loose].filter((key) => !owners.has(key)).flatMap((key) => present.get(key) ?? []);
      loose.clear();
      for (let at = 0; at < gone.length; at += BATCH) await Promise.all(gone.slice(at, at + BATCH).map(remove));
      return gone.length;
    },

    legs: () => wanted,
  };

  function remember(entry: Entry): void {
    present.set(keyOf(entry), entry);
    loose.add(keyOf(entry));
  }
}

function entriesOf({ linkIndex, address, mac, destination }: Tunnel): [Entry, Entry] {
  return [
    { kind: 'neighbour', linkIndex, address, mac },
    { kind: 'forwarding', linkIndex, mac, destination },
  ];
}

function keyOf(entry: Entry): string {
  return `${entry.kind} ${entry.linkIndex} ${entry.kind === 'neighbour' ? entry.address : entry.mac}`;
}

function isEqual(one: Entry | undefined, other: Entry): boolean {
  if (one?.kind === 'neighbour' && other.kind === 'neighbour') return one.mac === other.mac;
  return one?.kind === 'forwarding' && other.kind === 'forwarding' && one.destination === other.destination;
}

function describeClash(entry: Entry, owner: string): string {
  const [node] = owner.split(' ');
  return entry.kind === 'neighbour'
    ? `its pod CIDR begins at ${entry.address}, as that of node ${node} does`
    : `its VtepMAC ${entry.mac} is node ${node}'s too (machines cloned from one image?): delete its device and its backend-data annotation, and start its overlay again`;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

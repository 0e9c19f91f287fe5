import type { Protocol } from '../state/model.ts';

/** The first packet of a connection. */
export interface Packet {
  protocol: Protocol;
  source: string;
  destination: string;
  destinationPort: number;
  /** The interface it comes in by; absent for a packet of the node's own. */
  inInterface?: string;
}

export interface TraceHost {
  /** Addresses of the node, beside loopback. */
  localAddresses: readonly string[];
  /** Lists of clients (`-m recent`, affinity sets), by name, that hold the packet's source. */
  remembered?: readonly string[];
  /** The interface by which packets to an address leave; rules that ask for it hold for none while unknown. */
  outInterface?(destination: string): string | undefined;
}

/** A rule that held. */
export interface TraceStep {
  table: string;
  chain: string;
  rule: string;
}

/** One way that the packet may go. Random choices make several of them. */
export interface TraceOutcome {
  verdict: 'ACCEPT' | 'DROP' | 'REJECT';
  /** `ip:port` after DNAT; the packet's own when there was none. */
  destination: string;
  /** Whether it is delivered on this host (of an accepted one). */
  isDeliveredHere: boolean;
  /** Whether its source becomes an address of the node. */
  isMasqueraded: boolean;
  /** 0…1, of the random choices on the way. */
  probability: number;
  /** In order. */
  path: readonly TraceStep[];
  /** Rules that might have held: they use what the trace cannot judge. */
  doubts: readonly string[];
}

import type { IpFamily } from '../../src/netfilter/tables.ts';

/*
 * Rules as a packet meets them, whichever program wrote them: netfilter's hooks lead to base chains, those to rules, rules to
 * steps that look at the packet or change it. Each mode has an adapter that reads its own text into this form (iptables-text.ts,
 * nft-text.ts, ipvs-text.ts); what `nft list` and `iptables-save` print is read by the same adapters. walk.ts leads packets through.
 */

export type Hook = 'prerouting' | 'input' | 'forward' | 'output' | 'postrouting';

/** Where netfilter calls a table. */
export interface BaseChain {
  table: string;
  chain: string;
  hook: Hook;
  /** Lower comes first (NF_IP_PRI_*: nat PREROUTING -100, filter 0, nat POSTROUTING 100). */
  priority: number;
  /**
   * nat: seen by the first packet of a connection only, and skipped when a nat chain of the same hook has translated it already.
   * ipvs: the kernel's load balancer, shown as a chain.
   */
  kind: 'filter' | 'nat' | 'ipvs';
  /** What becomes of a packet that runs off its end. */
  policy: 'ACCEPT' | 'DROP';
}

export interface Ruleset {
  family: IpFamily;
  baseChains: readonly BaseChain[];
  /** Addresses that the mode binds to the host itself, so that packets to them are the host's (ipvs: kube-ipvs0). */
  boundAddresses?: readonly string[];
  /** A chain's rules; undefined when there is no such chain. Read at the first call: 10,000 services are 100,000 rules. */
  rules(table: string, chain: string): readonly Rule[] | undefined;
}

export interface Rule {
  /** As its program prints it. */
  text: string;
  /** Taken one after the other; the first that does not hold ends the rule, and the chain goes on below it. */
  steps: readonly Step[];
}

/** What may be asked of a packet and its connection. Values are texts: `10.0.0.1`, `tcp`, `80`, `local`, `new`. */
export type Field =
  | 'source'
  | 'destination'
  | 'protocol'
  | 'sourcePort'
  | 'destinationPort'
  | 'inInterface'
  | 'outInterface'
  /** `local` or `unicast`. */
  | 'sourceType'
  | 'destinationType'
  /** A number in decimal. */
  | 'mark'
  /** `new`: a trace is about first packets. */
  | 'connectionState'
  /** As the client sent it, before translation. */
  | 'originalDestination'
  | 'originalDestinationPort';

export type Expression =
  | { kind: 'field'; field: Field }
  | { kind: 'constant'; value: string }
  /** One of 0…modulus-1 (plus offset), each as likely: numgen, or a hash of what the client picks freely. */
  | { kind: 'random'; modulus: number; offset: number }
  /** (of & and) ^ xor, of 32 bits. */
  | { kind: 'bits'; of: Expression; and: number; xor: number }
  /** The element of a map under a key; without one the rule does not hold. */
  | { kind: 'lookup'; key: readonly Expression[]; map: Elements<readonly string[]> };

export type Verdict =
  | { kind: 'ACCEPT' | 'DROP' | 'REJECT' | 'RETURN' | 'CONTINUE' }
  /** A jump comes back to the next rule, a goto to the chain before. */
  | { kind: 'jump' | 'goto'; chain: string };

export type Step =
  | { kind: 'match'; key: readonly Expression[]; elements: Elements<unknown>; negated: boolean }
  /** Holds when one of the states is the connection's: `new`, and `dnat` or `snat` once it is translated. */
  | { kind: 'connection'; states: readonly string[]; negated: boolean }
  /** Holds with this probability (0…1). */
  | { kind: 'chance'; probability: number }
  /** Holds when the list of this name holds the packet's source (`-m recent --rcheck`, a dynamic set). */
  | { kind: 'remembered'; list: string; negated: boolean }
  | { kind: 'remember'; list: string }
  | { kind: 'mark'; value: Expression }
  /** One of the targets, by weight; the port stays where undefined. */
  | { kind: 'dnat'; targets: readonly DnatTarget[] }
  /** Target `address, port` (or address alone) by expression. */
  | { kind: 'dnatTo'; to: Expression }
  /** To this host's own address, at a port. */
  | { kind: 'redirect'; port: number }
  | { kind: 'masquerade' }
  | { kind: 'snat'; address: string }
  | { kind: 'verdict'; verdict: Verdict }
  | { kind: 'verdictMap'; key: readonly Expression[]; map: Elements<Verdict> }
  /** Nothing that a trace needs to know: a counter, a log line, a comment. */
  | { kind: 'note' }
  /** A match or target that this reader does not know: the rule is taken not to hold, and the trace says so. */
  | { kind: 'unknown'; text: string };

export interface DnatTarget {
  address: string;
  port?: number;
  /** Share among the targets; 0 takes none. */
  weight: number;
}

/** What one part of a set's element admits. */
export type Pattern =
  | string
  | { cidr: string }
  /** Numbers or addresses, both ends belong to it. */
  | { from: string; to: string }
  | { prefix: string };

/** A set (values of no meaning) or a map. */
export interface Elements<T> {
  /** Named, as the program prints it; undefined for one that stands in a rule. */
  name?: string;
  size: number;
  find(key: readonly string[]): { value: T } | undefined;
}

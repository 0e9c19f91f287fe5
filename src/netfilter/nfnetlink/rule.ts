/*
 * Rules of nf_tables as data: the statements that the proxy needs, each with one form as text (rule-text.ts, what
 * `nft list` prints) and one as the kernel's expressions (rule-encoding.ts).
 */

/** A part of the packet; with `saddr` and `daddr` of the table's family. */
export type PacketField = 'saddr' | 'daddr' | 'l4proto' | 'dport';

export type Protocol = 'tcp' | 'udp' | 'sctp';

export type Statement =
  /** Matches; the first that does not hold ends the rule. */
  | { readonly kind: 'protocol'; readonly protocol: Protocol }
  | { readonly kind: 'destination-port'; readonly protocol: Protocol; readonly port: number }
  | { readonly kind: 'connection-new' }
  | { readonly kind: 'connection-translated' }
  /** `cidr` may be a plain address. */
  | {
      readonly kind: 'address';
      readonly field: 'saddr' | 'daddr';
      readonly cidr: string;
      readonly isNegated?: boolean;
    }
  /** The interface that a packet comes in by; a `*` at the end stands for any rest. */
  | { readonly kind: 'in-interface'; readonly name: string; readonly isNegated?: boolean }
  /** The address is one of the host's own. */
  | { readonly kind: 'local-address'; readonly field: 'saddr' | 'daddr' }
  | { readonly kind: 'in-set'; readonly fields: readonly PacketField[]; readonly set: string }
  /** Goes where the map says; on without an element. */
  | { readonly kind: 'verdict-map'; readonly fields: readonly PacketField[]; readonly map: string }
  /** Sets bits of the packet's mark. */
  | { readonly kind: 'set-mark'; readonly bits: number }
  /** Holds when a bit is set in the mark, and clears it. */
  | { readonly kind: 'take-mark'; readonly bits: number }
  /** DNAT of a protocol's packets to the address and port that the map has for these fields and an index below `count`, drawn by lot. */
  | {
      readonly kind: 'dnat-random';
      readonly protocol: Protocol;
      readonly fields: readonly PacketField[];
      readonly count: number;
      readonly map: string;
    }
  | { readonly kind: 'dnat'; readonly address: string; readonly port: number }
  /** Holds once in so many times, by lot. */
  | { readonly kind: 'chance'; readonly oneIn: number }
  /** Notes the packet's source in a dynamic set; what is noted already has its time begin anew. */
  | { readonly kind: 'remember'; readonly set: string }
  | { readonly kind: 'masquerade' }
  | { readonly kind: 'reject' }
  | { readonly kind: 'accept' | 'drop' | 'return' }
  | { readonly kind: 'jump' | 'goto'; readonly chain: string };

export interface Rule {
  readonly statements: readonly Statement[];
  /** For people; at most 253 bytes. */
  readonly comment?: string;
  /** For the program that wrote it: kept beside the comment, and shown by no tool. */
  readonly owner?: string;
}

export type Family = 'ip' | 'ip6';

export interface BaseChainHook {
  readonly type: 'filter' | 'nat';
  readonly hook: 'prerouting' | 'input' | 'forward' | 'output' | 'postrouting';
  readonly priority: number;
}

export interface Chain {
  readonly name: string;
  /** Where the kernel calls it; undefined for a chain that others jump to. The policy is to accept. */
  readonly base?: BaseChainHook;
  readonly rules: readonly Rule[];
}

/**
 * What every overlay backend is to the overlay: a device (or none) on this node, and per other node whatever leads to its pods.
 *
 *     Node objects ──► Peer[] (parsed once, per change) ──► backend.sync(peers, changed) ──► links, routes, neighbours, FDB
 *
 * Cost follows change: with `changed` a backend touches these peers alone, from what it remembers of its own writes; without, it
 * reads the kernel's state, compares it with all peers and mends. Identity is in the kernel (route protocol 0xBF, device names), so
 * a restart or a death at any step needs no file. All routes with ROUTE_PROTOCOL.overlay are the running backend's (overlay-routes.ts
 * has what backends share of them); `peers` holds neither this node, nor one whose pod CIDR clashes with another's, nor one of another
 * backend type.
 */

/** A value per address family; absent where the node has none. */
export interface PerFamily<T> {
  4?: T;
  6?: T;
}

/** This node, as the overlay presents it. */
export interface SelfNode {
  name: string;
  /** `10.244.1.0/24`; the node's share of the cluster's pods. */
  podCidrs: PerFamily<string>;
  /** All pods of the cluster: `Network` and `IPv6Network`. */
  networks?: PerFamily<string>;
  /** Where the other nodes reach this one. */
  publicIps: PerFamily<string>;
  /** The link that has these addresses. */
  uplink: { name: string; index: number; mtu: number };
  /** What the node's annotations said before this start (a restart keeps its MAC and keys). */
  earlierData?: PerFamily<unknown>;
}

/** Another node, as its object says. */
export interface Peer {
  node: string;
  podCidrs: PerFamily<string>;
  publicIps: PerFamily<string>;
  /** `vxlan`, `host-gw`, …: flannel's `backend-type`; undefined for a node that has no such annotation. */
  backendType: string | undefined;
  /** Parsed JSON of flannel's `backend-data` and `backend-v6-data`: checked by the backend that reads it. */
  backendData: PerFamily<unknown>;
}

export interface BackendReady {
  /** Bytes that a pod's packet may have: FLANNEL_MTU. */
  mtu: number;
  /** What other nodes must know: `backend-data`, `backend-v6-data`. null where the backend has nothing to say. */
  data: PerFamily<unknown>;
}

export interface SyncOutcome {
  /** Kernel entries written or removed. */
  changed: number;
  /** Peers whose pods can't be reached, with the reason in words for an operator. */
  skipped: readonly { node: string; reason: string }[];
}

export interface OverlayBackend {
  readonly type: string;
  /** Makes the device or finds its own again; one that differs in what can't be changed is made anew. Idempotent. @throws an Error that says what the kernel lacks. */
  ensure(self: SelfNode): Promise<BackendReady>;
  /** `changed`: names of nodes that came, went or differ; undefined: everything, from the kernel's state. */
  sync(peers: ReadonlyMap<string, Peer>, changed?: ReadonlySet<string>): Promise<SyncOutcome>;
  /** Takes away exactly what this backend made, whatever configuration made it. Idempotent; needs no `ensure`. */
  remove(): Promise<void>;
  /** Of backends that work in the process (UDP): lives until the signal aborts. */
  run?(signal: AbortSignal): Promise<void>;
  close(): void;
}

import type { ObjectReference } from '../src/kube/types.ts';
import type { Run } from '../src/netfilter/iptables.ts';
import type { IpFamily } from '../src/netfilter/tables.ts';
import type { Clock } from '../src/runtime/clock.ts';
import type { Logger } from '../src/runtime/log.ts';
import type { Registry } from '../src/runtime/metrics.ts';
import type { KubeProxyConfiguration } from './config/kube-proxy-configuration.ts';
import type { LocalDetector } from './local-detector.ts';
import type { NodeTopology, ProxySnapshot } from './state/model.ts';
import type { SysctlPort, SysctlSetting } from './sysctls.ts';

export type ModeName = 'iptables' | 'ipvs' | 'nftables' | 'userspace';

/** What rules depend on beside services, as it is at the time of a sync; of one IP family. */
export interface NodeRenderOptions {
  node: NodeTopology;
  /** Addresses of this node, for source ranges that admit it. */
  nodeIps: readonly string[];
  localDetector: LocalDetector;
  masqueradeAll: boolean;
  /** E.g. 0x4000: the bit in the packet mark that asks for masquerading. */
  masqueradeMark: number;
  /** NodePorts answer at 127.0.0.1 too; only where the mode can do it. */
  localhostNodePorts: boolean;
  /** Addresses that take NodePort traffic; undefined means every local one. */
  nodePortAddresses?: readonly string[];
  /** With tcp_be_liberal, packets that conntrack calls INVALID are let through. */
  conntrackTcpBeLiberal: boolean;
  /** Blocks from which the cluster gives out ClusterIPs, as far as its ServiceCIDRs are known. */
  serviceCidrs: readonly string[];
}

export interface SyncOptions {
  node: NodeRenderOptions;
  /** Compare with the kernel and repair, instead of with what this process wrote before. */
  full: boolean;
  signal?: AbortSignal;
}

export interface SyncReport {
  /** `full` also when a partial one was asked for but could not be had. */
  kind: 'full' | 'partial';
  /** False when the kernel held everything already: then nothing was written. */
  wrote: boolean;
  /** The hourly comparison with the kernel is left out: at this size it would cost seconds. */
  skipsHourlyRepair: boolean;
  /** By table: rules that now stand, and those of this sync's transaction. For modes with iptables rules. */
  rules?: { total: Readonly<Record<string, number>>; last: Readonly<Record<string, number>> };
  /** Service ports whose traffic policy leaves them without an endpoint on this node, though there are some elsewhere. */
  withoutLocalEndpoints: { internal: number; external: number };
}

/** Brings the kernel in line with snapshots, for one IP family. Calls must not overlap. */
export interface Proxier {
  /**
   * One pass, in one transaction. Without `full` only `dirty` services (`ns/name`) are looked at. After a pass that failed
   * the next one must be full; the caller asks for it.
   * @throws when the kernel or the lock holder refused; then what stood before still stands.
   */
  sync(snapshot: ProxySnapshot, dirty: ReadonlySet<string>, options: SyncOptions): Promise<SyncReport>;
  /** Whether another program has removed what we wrote. Cheap: asked every sync period. */
  isFlushed(signal?: AbortSignal): Promise<boolean>;
  /** Tells at once when another program changes what is ours. Resolves when aborted; rejects when it cannot watch. */
  watchTampering?(signal: AbortSignal, onTampered: () => void): Promise<void>;
  /** Lets go of what lives in this process (sockets, relays); what is in the kernel stays. Idempotent. */
  close?(): Promise<void>;
}

/** One way to carry service traffic. */
export interface ProxyMode {
  readonly name: ModeName;
  /** Why this host cannot run the mode for a family, found out by trying; undefined when it can. Leaves nothing behind. */
  usable(family: IpFamily): Promise<string | undefined>;
  proxier(family: IpFamily): Proxier;
  /**
   * Removes exactly what this mode has written, of whatever version; idempotent, no error where the mode cannot have run.
   * What `successor` writes under the same names stays: it is that mode's by now.
   */
  cleanup(family: IpFamily, successor?: ModeName): Promise<void>;
  /** Kernel settings that are safe only once the rules of a sync stand. */
  sysctlsAfterSync?(family: IpFamily, node: NodeRenderOptions): readonly SysctlSetting[];
  /** The rules of a snapshot as the mode's own tool would print them (iptables-save, nft list), for people and tracers. Pure. */
  renderText?(snapshot: ProxySnapshot, node: NodeRenderOptions): Promise<string>;
}

/** What every mode gets. `createXMode(deps: ModeDependencies): ProxyMode` stands in `proxy/x/mode.ts`. */
export interface ModeDependencies {
  /** The exec door of src/linux. */
  run: Run;
  /** Path of the network namespace to work in; the process's own unless given. */
  netns?: string;
  config: KubeProxyConfiguration;
  sysctls: SysctlPort;
  clock: Clock;
  log: Logger;
  /** For metrics that only this mode has; to be registered in `proxier`, not before. */
  metrics: Registry;
  /** An event for people, on a Service or on the Node. */
  warn?(about: ObjectReference | 'node', reason: string, message: string): void;
}

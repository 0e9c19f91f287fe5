import type { IpFamily } from '../../src/netfilter/tables.ts';

export type Protocol = 'TCP' | 'UDP' | 'SCTP';

/** One port of a Service, seen by one IP family. Addresses are in canonical form. */
export interface ServicePort {
  readonly namespace: string;
  readonly name: string;
  /** `ns/name`, or `ns/name:port` where the port has a name: what comments and chain hashes are made of. */
  readonly displayName: string;
  readonly portName: string;
  readonly protocol: Protocol;
  readonly clusterIp: string;
  readonly port: number;
  /** 0 when the port has none; so for healthCheckNodePort. */
  readonly nodePort: number;
  readonly healthCheckNodePort: number;
  readonly externalIps: readonly string[];
  /** Load balancer addresses that packets still carry when they reach the node (ipMode VIP). */
  readonly loadBalancerVips: readonly string[];
  readonly loadBalancerSourceRanges: readonly string[];
  /** Set when sessionAffinity is ClientIP. */
  readonly affinitySeconds?: number;
  readonly isInternalPolicyLocal: boolean;
  readonly isExternalPolicyLocal: boolean;
}

/** One endpoint of a service port, all slices merged. */
export interface Endpoint {
  readonly ip: string;
  readonly port: number;
  /** `ip:port`, IPv6 in brackets. */
  readonly address: string;
  readonly isLocal: boolean;
  readonly isReady: boolean;
  readonly isServing: boolean;
  readonly isTerminating: boolean;
  readonly zoneHints: readonly string[];
  readonly nodeHints: readonly string[];
}

export interface ServicePortState {
  readonly port: ServicePort;
  /** Sorted by address. */
  readonly endpoints: readonly Endpoint[];
}

/** A Service with what its slices say. A new object exactly when something that matters has changed. */
export interface ServiceState {
  readonly ports: readonly ServicePortState[];
}

/** What the rules of one IP family are made from. Never changed after it was handed out. */
export interface ProxySnapshot {
  readonly family: IpFamily;
  /** By `ns/name`, sorted. */
  readonly services: ReadonlyMap<string, ServiceState>;
}

/** Where this node stands, for topology hints. */
export interface NodeTopology {
  readonly nodeName: string;
  /** Label topology.kubernetes.io/zone; empty when the node has none. */
  readonly zone: string;
}

/** Whether anything from outside the cluster can be meant for this port. */
export function isExternallyAccessible(port: ServicePort): boolean {
  return port.nodePort !== 0 || port.loadBalancerVips.length > 0 || port.externalIps.length > 0;
}

/** Cluster endpoints serve policy Cluster; and under an external policy Local the node and its pods still reach all of them. */
export function usesClusterEndpoints(port: ServicePort): boolean {
  return !port.isInternalPolicyLocal || isExternallyAccessible(port);
}

export function usesLocalEndpoints(port: ServicePort): boolean {
  return port.isInternalPolicyLocal || (port.isExternalPolicyLocal && isExternallyAccessible(port));
}

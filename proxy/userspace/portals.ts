import type { IpFamily } from '../../src/netfilter/tables.ts';
import type { LocalDetector } from '../local-detector.ts';
import type { NodeRenderOptions } from '../mode.ts';
import { cidrContains } from '../state/addresses.ts';
import { categorizeEndpoints } from '../state/categorize.ts';
import type { ProxySnapshot, ServicePort, ServicePortState } from '../state/model.ts';

/** The two sets of endpoints between which traffic policies choose; each has a relay of its own. */
export type RelayKind = 'cluster' | 'local';

/** Packets for one destination, and what becomes of them: the first portal that matches decides. */
export interface Portal {
  /** `ns/name:port`. */
  service: string;
  protocol: 'tcp' | 'udp';
  /** A service address; absent for a node port. */
  address?: string;
  port: number;
  /** Whose packets: everybody's, the node's own processes', or local pods'. */
  from: 'all' | 'node' | 'pods';
  /** To a relay's port, or an end. */
  action: number | 'reject' | 'drop';
}

/** A load balancer address that takes packets from some blocks only; looked at before any portal. */
export interface PortalFirewall extends Pick<Portal, 'service' | 'protocol' | 'port'> {
  address: string;
  ranges: readonly string[];
  /** The blocks hold an address of this node: its own processes are let through, whatever source they use. */
  admitsNode: boolean;
}

/** All portals of one IP family, with what their matches need. */
export interface PortalSet {
  family: IpFamily;
  /** Own address on which the relays listen. */
  relayAddress: string;
  relayPorts: readonly { protocol: 'tcp' | 'udp'; port: number }[];
  localDetector: LocalDetector;
  /** Addresses that take node ports; undefined means all of the node. */
  nodePortAddresses?: readonly string[];
  /** Whether 127/8 takes node ports too. */
  takesLoopback: boolean;
  firewalls: readonly PortalFirewall[];
  portals: readonly Portal[];
}

/** Which relays a service port needs, and with whom behind them. Pure. */
export function computeRelays(
  state: ServicePortState,
  node: NodeRenderOptions['node'],
): Map<RelayKind, ServicePortState['endpoints']> {
  const { cluster, local } = categorizeEndpoints(state.endpoints, state.port, node);
  const relays = new Map<RelayKind, ServicePortState['endpoints']>();
  if (cluster.length > 0) relays.set('cluster', cluster);
  if (local.length > 0) relays.set('local', local);
  return relays;
}

/** Where the relay of a service port listens; undefined when it has none. */
export type RelayPorts = (port: ServicePort, kind: RelayKind) => number | undefined;

/** The portals of every service, in the order in which they are to be tried. Pure. */
export function buildPortals(
  snapshot: ProxySnapshot,
  node: NodeRenderOptions,
  relayPort: RelayPorts,
): Pick<PortalSet, 'portals' | 'firewalls'> {
  const portals: Portal[] = [];
  const firewalls: PortalFirewall[] = [];
  for (const { ports } of snapshot.services.values())
    for (const state of ports) {
      if (state.port.protocol === 'SCTP') continue;
      portals.push(...portalsOf(state, node, relayPort));
      firewalls.push(...firewallsOf(state.port, node));
    }
  return { portals, firewalls };
}

function portalsOf(state: ServicePortState, node: NodeRenderOptions, relayPort: RelayPorts): Portal[] {
  const { port } = state;
  const { hasAny } = categorizeEndpoints(state.endpoints, port, node.node);
  const to = (kind: RelayKind): Portal['action'] => relayPort(port, kind) ?? (hasAny ? 'drop' : 'reject');
  const about = { service: port.displayName, protocol: protocolOf(port) };
  const external = (destination: { address?: string; port: number }): Portal[] => {
    if (!port.isExternalPolicyLocal) return [{ ...about, ...destination, from: 'all', action: to('cluster') }];
    // The policy is about clients from outside: pods and the node itself reach every endpoint.
    const short = (['pods', 'node'] as const).map((from) => ({
      ...about,
      ...destination,
      from,
      action: to('cluster'),
    }));
    return [...short, { ...about, ...destination, from: 'all', action: to('local') }];
  };
  const internal = to(port.isInternalPolicyLocal ? 'local' : 'cluster');
  return [
    { ...about, address: port.clusterIp, port: port.port, from: 'all', action: internal },
    ...[...port.externalIps, ...port.loadBalancerVips].flatMap((address) => external({ address, port: port.port })),
    ...(port.nodePort === 0 ? [] : external({ port: port.nodePort })),
  ];
}

function firewallsOf(port: ServicePort, { nodeIps }: NodeRenderOptions): PortalFirewall[] {
  const ranges = port.loadBalancerSourceRanges;
  if (ranges.length === 0) return [];
  const admitsNode = ranges.some((range) => nodeIps.some((ip) => cidrContains(range, ip)));
  const about = { service: port.displayName, protocol: protocolOf(port), port: port.port };
  return port.loadBalancerVips.map((address) => ({ ...about, address, ranges, admitsNode }));
}

function protocolOf(port: ServicePort): Portal['protocol'] {
  return port.protocol === 'UDP' ? 'udp' : 'tcp';
}

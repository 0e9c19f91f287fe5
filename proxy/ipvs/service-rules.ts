import { FLAG_PERSISTENT, FLAG_SCHED2, type VirtualServer } from '../../src/netfilter/ipvs-messages.ts';
import type { NodeRenderOptions } from '../mode.ts';
import { cidrContains } from '../state/addresses.ts';
import { categorizeEndpoints } from '../state/categorize.ts';
import type { Endpoint, ServicePort, ServicePortState, ServiceState } from '../state/model.ts';
import type { SetKey } from './sets.ts';

export interface IpvsRenderOptions extends NodeRenderOptions {
  /** `rr`, `wlc`, … */
  scheduler: string;
  /** The host's addresses of the family, without loopback, IPv6 link-local ones and those of kube-ipvs0. */
  hostAddresses: readonly string[];
  /** Whether MASQUERADE takes `--random-fully`. */
  hasRandomFully: boolean;
}

/** A virtual server with its real ones. */
export interface WantedServer {
  readonly server: VirtualServer;
  /** `ip:port`, IPv6 in brackets; each of weight 1. */
  readonly endpoints: readonly string[];
}

/** What one Service needs in the kernel. */
export interface IpvsServiceRules {
  readonly servers: readonly WantedServer[];
  /** To be bound to kube-ipvs0. */
  readonly addresses: readonly string[];
  readonly elements: readonly (readonly [SetKey, string])[];
  /** Rules of KUBE-IPVS-OUT-FILTER. */
  readonly outFilter: readonly string[];
  /** Service ports whose policy Local leaves them without an endpoint here, though there are some elsewhere. */
  readonly withoutLocalEndpoints: { internal: number; external: number };
}

type Collected = {
  servers: WantedServer[];
  addresses: string[];
  elements: [SetKey, string][];
  outFilter: string[];
  withoutLocalEndpoints: { internal: number; external: number };
};

/** Where NodePorts answer: `nodePortAddresses` where it picks some. Loopback never: IPVS cannot serve there. */
function nodePortAddressesOf({ nodePortAddresses, hostAddresses }: IpvsRenderOptions): readonly string[] {
  return (nodePortAddresses ?? hostAddresses).filter((ip) => !ip.startsWith('127.') && ip !== '::1');
}

/** What a Service needs in the kernel in mode ipvs (kube-proxy's syncProxyRules for one Service). Pure. */
export function renderIpvsService({ ports }: ServiceState, options: IpvsRenderOptions): IpvsServiceRules {
  const out: Collected = {
    servers: [],
    addresses: [],
    elements: [],
    outFilter: [],
    withoutLocalEndpoints: { internal: 0, external: 0 },
  };
  for (const state of ports) renderPort(state, options, out);
  return out;
}

function renderPort({ port, endpoints }: ServicePortState, options: IpvsRenderOptions, out: Collected): void {
  const protocol = port.protocol.toLowerCase();
  const { cluster, local, hasAny } = categorizeEndpoints(endpoints, port, options.node);
  const serve = (address: string, number: number, endpointsOf: readonly Endpoint[]) =>
    out.servers.push({
      server: virtualServer(port, address, number, options.scheduler),
      endpoints: endpointsOf.map((endpoint) => endpoint.address),
    });
  // With nobody here the others serve the node and its pods; the outside is kept away by a rule (KUBE-IPVS-FILTER).
  const isLocalOnly = port.isExternalPolicyLocal && local.length > 0;
  const serveExternally = (address: string, number: number) => {
    serve(address, number, isLocalOnly ? local : cluster);
    if (port.isExternalPolicyLocal && !isLocalOnly && cluster.length > 0)
      out.elements.push(['BERTH-NO-LOCAL-ENDPOINTS', `${address},${protocol}:${number}`]);
  };
  const bind = (address: string) => {
    out.addresses.push(address);
    out.elements.push(['KUBE-IPVS-IPS', address]);
  };
  // An address that the host has anyway stays where it is.
  const bindForeign = (address: string) => {
    if (!options.hostAddresses.includes(address)) bind(address);
  };
  const isExternal = port.nodePort !== 0 || port.loadBalancerVips.length > 0 || port.externalIps.length > 0;
  if (hasAny && local.length === 0) {
    if (port.isInternalPolicyLocal) out.withoutLocalEndpoints.internal++;
    if (port.isExternalPolicyLocal && isExternal) out.withoutLocalEndpoints.external++;
  }

  for (const { ip, port: number, isLocal } of endpoints)
    if (isLocal) out.elements.push(['KUBE-LOOP-BACK', `${ip},${protocol}:${number},${ip}`]);

  out.elements.push(['KUBE-CLUSTER-IP', `${port.clusterIp},${protocol}:${port.port}`]);
  serve(port.clusterIp, port.port, port.isInternalPolicyLocal ? local : cluster);
  bind(port.clusterIp);

  for (const ip of port.externalIps) {
    const set = port.isExternalPolicyLocal ? 'KUBE-EXTERNAL-IP-LOCAL' : 'KUBE-EXTERNAL-IP';
    out.elements.push([set, `${ip},${protocol}:${port.port}`]);
    serveExternally(ip, port.port);
    bindForeign(ip);
  }

  for (const ip of port.loadBalancerVips) {
    renderLoadBalancer(port, ip, options, out);
    serveExternally(ip, port.port);
    bindForeign(ip);
  }

  if (port.nodePort !== 0) renderNodePort(port, options, out, serveExternally);
  if (port.healthCheckNodePort !== 0)
    out.elements.push(['KUBE-HEALTH-CHECK-NODE-PORT', String(port.healthCheckNodePort)]);
}

function virtualServer(port: ServicePort, address: string, number: number, scheduler: string): VirtualServer {
  const isPersistent = port.affinitySeconds !== undefined;
  return {
    protocol: port.protocol,
    address,
    port: number,
    scheduler,
    flags: (isPersistent ? FLAG_PERSISTENT : 0) | (scheduler === 'mh' ? FLAG_SCHED2 : 0),
    timeoutSeconds: port.affinitySeconds ?? 0,
  };
}

function renderLoadBalancer(port: ServicePort, ip: string, options: IpvsRenderOptions, out: Collected): void {
  const protocol = port.protocol.toLowerCase();
  const element = `${ip},${protocol}:${port.port}`;
  out.elements.push(['KUBE-LOAD-BALANCER', element]);
  if (port.isExternalPolicyLocal) out.elements.push(['KUBE-LOAD-BALANCER-LOCAL', element]);
  const ranges = port.loadBalancerSourceRanges;
  if (ranges.length === 0) return;
  out.elements.push(['KUBE-LOAD-BALANCER-FW', element]);
  for (const range of ranges) out.elements.push(['KUBE-LOAD-BALANCER-SOURCE-CIDR', `${element},${range}`]);
  if (ranges.some((range) => options.nodeIps.some((nodeIp) => cidrContains(range, nodeIp))))
    out.elements.push(['KUBE-LOAD-BALANCER-SOURCE-IP', `${element},${ip}`]);
  else {
    // The address is the node's own by being on kube-ipvs0, so the node's packets to it carry it as their source, and no
    // source range can tell them.
    const vproto = { TCP: 6, UDP: 17, SCTP: 132 }[port.protocol];
    const length = ip.includes(':') ? 128 : 32;
    out.outFilter.push(`-s ${ip}/${length} -m ipvs --vproto ${vproto} --vaddr ${ip} --vport ${port.port} -j DROP`);
  }
}

function renderNodePort(
  port: ServicePort,
  options: IpvsRenderOptions,
  out: Collected,
  serve: (address: string, number: number) => void,
): void {
  const addresses = nodePortAddressesOf(options);
  if (addresses.length === 0) return;
  const isSctp = port.protocol === 'SCTP';
  const suffix = isSctp ? 'SCTP-HASH' : port.protocol;
  const elements = isSctp ? addresses.map((ip) => `${ip},sctp:${port.nodePort}`) : [String(port.nodePort)];
  for (const element of elements) {
    out.elements.push([`KUBE-NODE-PORT-${suffix}` as SetKey, element]);
    if (port.isExternalPolicyLocal) out.elements.push([`KUBE-NODE-PORT-LOCAL-${suffix}` as SetKey, element]);
  }
  for (const ip of addresses) serve(ip, port.nodePort);
}

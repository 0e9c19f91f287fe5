import type { ModeName, NodeRenderOptions } from '../../proxy/mode.ts';
import { cidrContains } from '../../proxy/state/addresses.ts';
import type { End } from '../../proxy/trace/ends.ts';
import type { EndpointSlice, Service } from '../../src/kube/types.ts';

/*
 * Who may answer, straight from the API objects: written from the documentation of Services alone and shares nothing with the proxy, so that
 * the two can disagree.
 */

export interface OracleWorld {
  services: readonly Service[];
  slices: readonly EndpointSlice[];
  node: NodeRenderOptions;
  /** Of the node. */
  localAddresses: readonly string[];
  mode: ModeName;
}

export interface OraclePacket {
  source: string;
  protocol: string;
  destination: string;
  port: number;
}

interface Candidate {
  ip: string;
  port: number;
  isLocal: boolean;
  isReady: boolean;
  isLeaving: boolean;
  zones: readonly string[];
}

/** `10.0.0.1:80 masqueraded 0.5`, sorted; `REJECT`, `DROP`; alternatives where upstream's modes differ and both are right. */
export function expectedEnds(world: OracleWorld, packet: OraclePacket): string[][] {
  const found = findPort(world, packet);
  if (!found) throw new Error(`the oracle knows no service at ${packet.destination}:${packet.port}`);
  const { service, portName, kind } = found;
  const { spec } = service;
  const all = candidatesOf(world, service, portName, packet.protocol);
  const ready = all.filter(({ isReady }) => isReady);
  const leaving = all.filter(({ isLeaving }) => isLeaving);
  const usable = ready.length > 0 ? ready : leaving;
  const near = ready.length > 0 ? inZone(ready, world.node.node.zone) : leaving;
  const localReady = ready.filter(({ isLocal }) => isLocal);
  const local = localReady.length > 0 ? localReady : leaving.filter(({ isLocal }) => isLocal);

  const isFromPod = isPod(world, packet.source);
  const isFromNode = world.localAddresses.includes(packet.source);
  // A virtual server without real ones refuses: IPVS has no way to drop.
  const none = usable.length === 0 || world.mode === 'ipvs' ? 'REJECT' : 'DROP';
  const send = (to: readonly Candidate[], isMasqueraded: boolean): string[][] =>
    to.length === 0
      ? [[none]]
      : [
          to
            .map(({ ip, port }) => {
              const masqueraded = isMasqueraded || ip === packet.source ? ' masqueraded' : '';
              return `${ip}:${port}${masqueraded} ${(1 / to.length).toFixed(3)}`;
            })
            .sort(),
        ];

  if (kind === 'cluster') {
    // The node's own packets to an address on kube-ipvs0 come from that address, and no endpoint could answer there.
    const isFromVip = world.mode === 'ipvs' && isFromNode;
    const isStranger = world.node.localDetector.kind !== 'none' && !isFromPod;
    const isMasqueraded = world.node.masqueradeAll || isStranger || isFromVip;
    return send(spec.internalTrafficPolicy === 'Local' ? local : near, isMasqueraded);
  }
  // kube-proxy's KUBE-EXTERNAL-SERVICES hangs in INPUT and FORWARD alone: what the node itself sends there goes out unanswered.
  if (world.mode === 'iptables' && isFromNode && usable.length === 0 && kind !== 'node')
    return [[`${packet.destination}:${packet.port} 1.000`]];
  const ranges = kind === 'balancer' ? (spec.loadBalancerSourceRanges ?? []) : [];
  // On a host that holds the address itself, packets of its own carry it as their source: then the node's address counts.
  const client = isFromNode && packet.source === packet.destination ? world.node.nodeIps[0]! : packet.source;
  if (ranges.length > 0 && !ranges.some((range) => cidrContains(range, client)))
    // Whether the firewall or the lack of endpoints is looked at first differs between kube-proxy's modes.
    return usable.length === 0 ? [['DROP'], ['REJECT']] : [['DROP']];
  if (spec.externalTrafficPolicy !== 'Local') return send(near, true);
  // One virtual server is for all callers, and none of them is masqueraded; without local endpoints it has the others, for pods and the node.
  if (world.mode === 'ipvs') {
    if (local.length === 0 && usable.length > 0 && !isFromPod && !isFromNode) return [['DROP']];
    return send(local.length > 0 ? local : near, false);
  }
  if (isFromPod) return send(near, false);
  if (isFromNode) return send(near, true);
  return send(local, false);
}

/** The same spelling for what a trace has found. */
export function spellEnds(ends: readonly End[]): string[] {
  return ends
    .map(({ verdict, destination, isMasqueraded, probability }) =>
      verdict === 'ACCEPT' ? `${destination}${isMasqueraded ? ' masqueraded' : ''} ${probability.toFixed(3)}` : verdict,
    )
    .sort();
}

type Kind = 'cluster' | 'external' | 'balancer' | 'node';

/** Every address at which a service of the world answers. */
export function waysInto(
  world: OracleWorld,
  nodeIp: string,
): Pick<OraclePacket, 'destination' | 'port' | 'protocol'>[] {
  return world.services.flatMap(({ spec, status }) =>
    (spec.ports ?? []).flatMap(({ port, nodePort, protocol = 'TCP' }) => [
      ...[
        spec.clusterIP!,
        ...(spec.externalIPs ?? []),
        ...(status?.loadBalancer?.ingress ?? []).flatMap(({ ip, ipMode }) => (ip && ipMode !== 'Proxy' ? [ip] : [])),
      ].map((destination) => ({ destination, port, protocol })),
      ...(nodePort ? [{ destination: nodeIp, port: nodePort, protocol }] : []),
    ]),
  );
}

function findPort(world: OracleWorld, { destination, port: wanted, protocol }: OraclePacket) {
  for (const service of world.services)
    for (const port of service.spec.ports ?? []) {
      if ((port.protocol ?? 'TCP') !== protocol) continue;
      const at = (kind: Kind) => ({ service, portName: port.name ?? '', kind });
      const { spec, status } = service;
      if (port.nodePort === wanted && world.localAddresses.includes(destination)) return at('node');
      if (port.port !== wanted) continue;
      if (spec.clusterIP === destination) return at('cluster');
      if (spec.externalIPs?.includes(destination)) return at('external');
      if (status?.loadBalancer?.ingress?.some(({ ip, ipMode }) => ip === destination && ipMode !== 'Proxy'))
        return at('balancer');
    }
  return undefined;
}

function candidatesOf(
  { slices, node }: OracleWorld,
  service: Service,
  portName: string,
  protocol: string,
): Candidate[] {
  return slices
    .filter(({ metadata }) => metadata.labels?.['kubernetes.io/service-name'] === service.metadata.name)
    .flatMap(({ ports, endpoints }) =>
      (ports ?? [])
        .filter((port) => (port.name ?? '') === portName && (port.protocol ?? 'TCP') === protocol)
        .flatMap(({ port }) =>
          (endpoints ?? []).map(({ addresses, conditions, nodeName, hints }) => ({
            ip: addresses[0]!,
            port: port!,
            isLocal: nodeName === node.node.nodeName,
            isReady: conditions?.ready ?? true,
            isLeaving: conditions?.serving === true && conditions.terminating === true && conditions.ready !== true,
            zones: (hints?.forZones ?? []).map(({ name }) => name),
          })),
        ),
    );
}

/** Hints count when every ready endpoint has one and one of them is for this zone. */
function inZone(ready: readonly Candidate[], zone: string): readonly Candidate[] {
  const here = ready.filter(({ zones }) => zones.includes(zone));
  return zone !== '' && here.length > 0 && ready.every(({ zones }) => zones.length > 0) ? here : ready;
}

function isPod({ node }: OracleWorld, source: string): boolean {
  return node.localDetector.kind === 'cidr' && cidrContains(node.localDetector.cidr, source);
}

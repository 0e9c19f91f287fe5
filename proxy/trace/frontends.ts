import type { IpFamily } from '../../src/netfilter/tables.ts';
import type { ProxySnapshot, ServicePort, ServicePortState } from '../state/model.ts';

/** An address and port at which a service port answers. */
export interface Frontend {
  kind: 'ClusterIP' | 'ExternalIP' | 'LoadBalancerIP' | 'NodePort';
  protocol: ServicePort['protocol'];
  address: string;
  port: number;
}

/** All of them; the NodePort once, at `nodeAddress`. */
export function frontendsOf(port: ServicePort, nodeAddress: string): Frontend[] {
  const { protocol } = port;
  const at = (kind: Frontend['kind'], addresses: readonly string[], number = port.port) =>
    addresses.map((address) => ({ kind, protocol, address, port: number }));
  return [
    ...at('ClusterIP', [port.clusterIp]),
    ...at('ExternalIP', port.externalIps),
    ...at('LoadBalancerIP', port.loadBalancerVips),
    ...(port.nodePort === 0 ? [] : at('NodePort', [nodeAddress], port.nodePort)),
  ];
}

/** A destination as a person or a packet names it. */
export interface Target {
  protocol: ServicePort['protocol'];
  address: string;
  port: number;
}

export interface FoundFrontend {
  /** `ns/name` of the Service. */
  service: string;
  state: ServicePortState;
  frontend: Frontend;
}

/** The service port that a destination belongs to; a NodePort at any address of the host. */
export function findFrontend(
  { services }: ProxySnapshot,
  target: Target,
  isLocal: (address: string) => boolean,
): FoundFrontend | undefined {
  for (const [service, { ports }] of services)
    for (const state of ports)
      for (const frontend of frontendsOf(state.port, target.address)) {
        if (frontend.protocol !== target.protocol || frontend.port !== target.port) continue;
        if (frontend.address === target.address && (frontend.kind !== 'NodePort' || isLocal(target.address)))
          return { service, state, frontend };
      }
  return undefined;
}

/** The Services that own an address, at whatever port. */
export function servicesAt({ services }: ProxySnapshot, address: string): string[] {
  return [...services].flatMap(([name, { ports }]) => {
    const [first] = ports;
    if (!first) return [];
    const { clusterIp, externalIps, loadBalancerVips } = first.port;
    return [clusterIp, ...externalIps, ...loadBalancerVips].includes(address) ? [name] : [];
  });
}

/** The snapshot with these Services alone: what a question about them costs must not grow with the cluster. */
export function pickServices({ family, services }: ProxySnapshot, names: Iterable<string>): ProxySnapshot {
  const picked = [...names].sort().flatMap((name) => {
    const state = services.get(name);
    return state ? [[name, state] as const] : [];
  });
  return { family, services: new Map(picked) } satisfies { family: IpFamily; services: ProxySnapshot['services'] };
}

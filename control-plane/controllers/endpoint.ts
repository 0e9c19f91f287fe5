import { isIPv6 } from 'node:net';
import type { DiscoveryEndpointPort, Endpoint, Node, Pod, Service, ServicePort } from '../../src/kube/types.ts';
import { isPodReady, isPodTerminal } from './pod-state.ts';

export type AddressType = 'IPv4' | 'IPv6';

/** Endpoints that share their ports, and so can share slices. */
export interface EndpointGroup {
  ports: DiscoveryEndpointPort[];
  endpoints: Endpoint[];
}

/** The families that a Service wants slices for; from its cluster IP (or IPv4) when ipFamilies is not filled in. */
export function addressTypes(service: Service): AddressType[] {
  const { ipFamilies, clusterIP } = service.spec;
  if (ipFamilies?.length) return ipFamilies as AddressType[];
  return [clusterIP && isIPv6(clusterIP) ? 'IPv6' : 'IPv4'];
}

/** A Service without cluster IP on purpose. */
export function isHeadless(service: Service): boolean {
  return service.spec.clusterIP === 'None';
}

/** The endpoints of one family that the selected pods make, grouped by what their port names resolve to. */
export function computeEndpoints(
  service: Service,
  pods: readonly Pod[],
  type: AddressType,
  nodeOf: (name: string) => Node | undefined,
): EndpointGroup[] {
  const groups = new Map<string, EndpointGroup>();
  for (const pod of pods) {
    const address = addressOf(pod, type);
    if (!address || isPodTerminal(pod)) continue;
    const ports = resolvePorts(service.spec.ports ?? [], pod);
    // Named ports that this pod lacks leave nothing to connect to; a headless Service may have no ports at all.
    if (ports.length === 0 && (service.spec.ports?.length || !isHeadless(service))) continue;
    const key = portsKey(ports);
    const group = groups.get(key) ?? { ports, endpoints: [] };
    group.endpoints.push(buildEndpoint(service, pod, address, nodeOf));
    groups.set(key, group);
  }
  return [...groups.values()];
}

/** Equal for equal sets of ports, whatever their order. */
export function portsKey(ports: readonly DiscoveryEndpointPort[] | undefined): string {
  return JSON.stringify(
    (ports ?? [])
      .map(({ name, port, protocol, appProtocol }) => [name ?? '', port, protocol, appProtocol ?? ''])
      .sort(),
  );
}

function addressOf(pod: Pod, type: AddressType): string | undefined {
  const { podIP, podIPs } = pod.status ?? {};
  const ips = podIPs?.length ? podIPs.map(({ ip }) => ip) : [podIP];
  return ips.find((ip) => ip && isIPv6(ip) === (type === 'IPv6'));
}

function resolvePorts(ports: readonly ServicePort[], pod: Pod): DiscoveryEndpointPort[] {
  return ports.flatMap(({ name, targetPort, port, protocol = 'TCP', appProtocol }) => {
    const number = resolvePort(targetPort ?? port, protocol, pod);
    if (number === undefined) return [];
    return [{ name: name ?? '', port: number, protocol, ...(appProtocol && { appProtocol }) }];
  });
}

/** A number stands for itself; a name is a container port of the pod. */
function resolvePort(target: number | string, protocol: string, pod: Pod): number | undefined {
  if (typeof target === 'number') return target;
  const sidecars = (pod.spec.initContainers ?? []).filter(({ restartPolicy }) => restartPolicy === 'Always');
  for (const { ports = [] } of [...pod.spec.containers, ...sidecars])
    for (const port of ports)
      if (port.name === target && (port.protocol ?? 'TCP') === protocol) return port.containerPort;
  return undefined;
}

function buildEndpoint(
  service: Service,
  pod: Pod,
  address: string,
  nodeOf: (name: string) => Node | undefined,
): Endpoint {
  const { name, namespace, uid, deletionTimestamp } = pod.metadata;
  const { nodeName, hostname, subdomain } = pod.spec;
  const serving = isPodReady(pod);
  const terminating = deletionTimestamp !== undefined;
  const zone = nodeName && nodeOf(nodeName)?.metadata.labels?.['topology.kubernetes.io/zone'];
  return {
    addresses: [address],
    conditions: {
      ready: Boolean(service.spec.publishNotReadyAddresses) || (serving && !terminating),
      serving,
      terminating,
    },
    ...(hostname && subdomain === service.metadata.name && { hostname }),
    ...(nodeName && { nodeName }),
    targetRef: { kind: 'Pod', namespace, name, uid },
    ...(zone && { zone }),
  };
}

import type { Service, ServiceSpec } from '../../../src/kube/types.ts';
import { semanticEqual } from '../equality.ts';
import { isExternal, needsClusterIp, needsHealthCheckPort, needsNodePorts } from './kind-of-service.ts';

/** clusterIP and clusterIPs say the same; clients often write only one of them. */
export function syncClusterIps(service: Service, old: Service | undefined): void {
  const { spec } = service;
  const before = old?.spec;
  if (!before) {
    if (spec.clusterIP && (spec.clusterIPs ?? []).length === 0) spec.clusterIPs = [spec.clusterIP];
    return;
  }
  const isSame = semanticEqual(spec.clusterIPs, before.clusterIPs);
  // The old field was cleared or changed and the list was not: the list follows.
  if (isSame && before.clusterIP && !spec.clusterIP) delete spec.clusterIPs;
  else if (isSame && spec.clusterIP && spec.clusterIP !== before.clusterIP) spec.clusterIPs = [spec.clusterIP];
}

/** A client that PUTs a Service without what was allocated to it keeps that. */
export function keepAllocations(service: Service, old: Service): void {
  const { spec } = service;
  const before = old.spec;
  if (needsClusterIp(old) && needsClusterIp(service)) {
    if (!spec.clusterIP) spec.clusterIP = before.clusterIP;
    if ((spec.clusterIPs ?? []).length === 0 && spec.clusterIP === before.clusterIP)
      spec.clusterIPs = before.clusterIPs;
  }
  if (needsNodePorts(old) && needsNodePorts(service)) keepNodePorts(spec, before);
  if (needsHealthCheckPort(old) && needsHealthCheckPort(service))
    spec.healthCheckNodePort ||= before.healthCheckNodePort;
}

/** By the port's name, unless another port of the new spec has taken the number. */
function keepNodePorts(spec: ServiceSpec, before: ServiceSpec): void {
  const used = new Set((spec.ports ?? []).map((port) => port.nodePort ?? 0));
  for (const port of spec.ports ?? []) {
    if (port.nodePort) continue;
    const known = (before.ports ?? []).find((one) => (one.name ?? '') === (port.name ?? ''))?.nodePort;
    if (known && !used.has(known)) port.nodePort = known;
  }
}

/** After a change of type: drops what the old type had and the new one may not, unless the client has changed it too. */
export function dropOutdatedFields(service: Service, old: Service): void {
  const { spec } = service;
  const before = old.spec;
  if (needsClusterIp(old) && !needsClusterIp(service)) {
    if (semanticEqual([spec.clusterIP, spec.clusterIPs], [before.clusterIP, before.clusterIPs])) {
      delete spec.clusterIP;
      delete spec.clusterIPs;
    }
    if (semanticEqual(spec.ipFamilies, before.ipFamilies)) delete spec.ipFamilies;
    if (spec.ipFamilyPolicy === before.ipFamilyPolicy) delete spec.ipFamilyPolicy;
  }
  if (needsNodePorts(old) && !needsNodePorts(service)) {
    const numbers = (ports: ServiceSpec['ports']) => (ports ?? []).map((port) => port.nodePort ?? 0).sort();
    if (semanticEqual(numbers(spec.ports), numbers(before.ports)))
      for (const port of spec.ports ?? []) delete port.nodePort;
  }
  const dropWhenKept = (
    field: 'healthCheckNodePort' | 'allocateLoadBalancerNodePorts' | 'loadBalancerClass' | 'externalTrafficPolicy',
  ) => {
    if (spec[field] === before[field]) delete spec[field];
  };
  if (needsHealthCheckPort(old) && !needsHealthCheckPort(service)) dropWhenKept('healthCheckNodePort');
  if (before.type === 'LoadBalancer' && spec.type !== 'LoadBalancer') {
    dropWhenKept('allocateLoadBalancerNodePorts');
    dropWhenKept('loadBalancerClass');
  }
  if (isExternal(old) && !isExternal(service)) dropWhenKept('externalTrafficPolicy');
}

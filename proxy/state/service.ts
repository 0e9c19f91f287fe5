import type { Service } from '../../src/kube/types.ts';
import type { IpFamily } from '../../src/netfilter/tables.ts';
import { addressOfFamily, cidrOfFamily } from './addresses.ts';
import type { Protocol, ServicePort } from './model.ts';

/** A Service that carries this label is somebody else's to proxy. */
const PROXY_NAME_LABEL = 'service.kubernetes.io/service-proxy-name';
const HEADLESS_LABEL = 'service.kubernetes.io/headless';
const DEFAULT_AFFINITY_SECONDS = 10_800;

/** The ports of a Service as one IP family serves them; empty when the Service isn't for this proxy or family. */
export function buildServicePorts(service: Service, family: IpFamily): ServicePort[] {
  const { metadata, spec } = service;
  const clusterIp = clusterIpOfFamily(service, family);
  if (!clusterIp || !isProxied(service)) return [];
  const ofFamily = (addresses: readonly (string | undefined)[] | undefined) =>
    (addresses ?? []).flatMap((address) => addressOfFamily(address?.trim(), family) ?? []);
  const shared = {
    namespace: metadata.namespace ?? '',
    name: metadata.name,
    clusterIp,
    healthCheckNodePort: healthCheckNodePort(service),
    externalIps: ofFamily(spec.externalIPs),
    loadBalancerVips: ofFamily(
      service.status?.loadBalancer?.ingress?.filter(({ ipMode }) => ipMode !== 'Proxy').map(({ ip }) => ip),
    ),
    loadBalancerSourceRanges: sourceRanges(spec.loadBalancerSourceRanges ?? [], family),
    affinitySeconds:
      spec.sessionAffinity === 'ClientIP'
        ? (spec.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? DEFAULT_AFFINITY_SECONDS)
        : undefined,
    isInternalPolicyLocal: spec.internalTrafficPolicy === 'Local',
    isExternalPolicyLocal: spec.externalTrafficPolicy === 'Local',
  };
  return (spec.ports ?? []).map((port) => ({
    ...shared,
    portName: port.name ?? '',
    displayName: `${shared.namespace}/${shared.name}${port.name ? `:${port.name}` : ''}`,
    protocol: (port.protocol ?? 'TCP') as Protocol,
    port: port.port,
    nodePort: port.nodePort ?? 0,
  }));
}

function isProxied({ metadata, spec }: Service): boolean {
  const labels = metadata.labels ?? {};
  return spec.type !== 'ExternalName' && !(PROXY_NAME_LABEL in labels) && !(HEADLESS_LABEL in labels);
}

function clusterIpOfFamily({ spec }: Service, family: IpFamily): string | undefined {
  const all = spec.clusterIPs?.length ? spec.clusterIPs : [spec.clusterIP];
  return all.map((ip) => addressOfFamily(ip, family)).find((ip) => ip !== undefined);
}

/** Only a load balancer that keeps client addresses asks each node whether it has endpoints. */
function healthCheckNodePort({ spec }: Service): number {
  return spec.type === 'LoadBalancer' && spec.externalTrafficPolicy === 'Local' ? (spec.healthCheckNodePort ?? 0) : 0;
}

/** A range that holds every address allows all, and is as good as none. */
function sourceRanges(ranges: readonly string[], family: IpFamily): string[] {
  const ofFamily = ranges.flatMap((range) => cidrOfFamily(range, family) ?? []);
  return ofFamily.some((range) => range.endsWith('/0')) ? [] : ofFamily;
}

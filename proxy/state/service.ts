import type { Service } from '../../src/kube/types.ts';
import type { IpFamily } from '../../src/netfilter/tables.ts';
import { addressOfFamily, cidrContains, cidrOfFamily, isReachable } from './addresses.ts';
import type { Protocol, ServicePort } from './model.ts';
import type { OnProblem } from './problem.ts';

/** A Service that carries this label is somebody else's to proxy. */
const PROXY_NAME_LABEL = 'service.kubernetes.io/service-proxy-name';
const HEADLESS_LABEL = 'service.kubernetes.io/headless';
const DEFAULT_AFFINITY_SECONDS = 10_800;

const PROTOCOLS: readonly string[] = ['TCP', 'UDP', 'SCTP'];

/** Whoever may write Services could take anybody's traffic with an external IP (CVE-2020-8554). */
export interface ExternalIpPolicy {
  /** Blocks that Services may take external IPs from. */
  allowed: readonly string[];
  /** Blocks of the cluster's own, never to be taken: its pods'. */
  forbidden: readonly string[];
}

export interface ServiceReading {
  family: IpFamily;
  externalIps?: ExternalIpPolicy;
  onProblem: OnProblem;
}

/**
 * The ports of a Service as one IP family serves them; empty when the Service isn't for this proxy or family. What makes no sense, or is
 * not allowed, is told and left out.
 */
export function buildServicePorts(service: Service, reading: ServiceReading): ServicePort[] {
  const { family, onProblem } = reading;
  const { metadata, spec } = service;
  const clusterIp = clusterIpOfFamily(service, family);
  if (!clusterIp || !isProxied(service)) return [];
  const ofFamily = (field: string, addresses: readonly (string | undefined)[]) => [
    ...new Set(addresses.flatMap((address) => addressOr(field, address?.trim(), family, onProblem))),
  ];
  const ranges = sourceRanges(spec.loadBalancerSourceRanges ?? [], family, onProblem);
  const shared = {
    namespace: metadata.namespace ?? '',
    name: metadata.name,
    clusterIp,
    healthCheckNodePort: healthCheckNodePort(service),
    externalIps: ofFamily('spec.externalIPs', spec.externalIPs ?? []).filter((ip) => isAllowed(ip, reading)),
    // With ranges of which none can be read, nobody may come; to serve everybody would be the contrary of what was asked for.
    loadBalancerVips: ranges
      ? ofFamily(
          'status.loadBalancer.ingress',
          (service.status?.loadBalancer?.ingress ?? []).filter(({ ipMode }) => ipMode !== 'Proxy').map(({ ip }) => ip),
        )
      : [],
    loadBalancerSourceRanges: ranges ?? [],
    affinitySeconds:
      spec.sessionAffinity === 'ClientIP'
        ? affinitySeconds(spec.sessionAffinityConfig?.clientIP?.timeoutSeconds)
        : undefined,
    isInternalPolicyLocal: spec.internalTrafficPolicy === 'Local',
    isExternalPolicyLocal: spec.externalTrafficPolicy === 'Local',
  };
  return (spec.ports ?? []).flatMap((port) => {
    const protocol = port.protocol ?? 'TCP';
    if (!isPort(port.port) || !PROTOCOLS.includes(protocol)) {
      onProblem('InvalidService', `port ${port.port}/${protocol}: there is no such port; it is left out`);
      return [];
    }
    const hasNodePort = port.nodePort !== undefined && port.nodePort !== 0;
    if (hasNodePort && !isPort(port.nodePort))
      onProblem('InvalidService', `node port ${port.nodePort}: there is no such port; it is left out`);
    return {
      ...shared,
      portName: port.name ?? '',
      displayName: `${shared.namespace}/${shared.name}${port.name ? `:${port.name}` : ''}`,
      protocol: protocol as Protocol,
      port: port.port,
      nodePort: isPort(port.nodePort) ? port.nodePort : 0,
    };
  });
}

export function isPort(port: unknown): port is number {
  return Number.isInteger(port) && Number(port) >= 1 && Number(port) <= 65_535;
}

const MAX_AFFINITY_SECONDS = 86_400;

function affinitySeconds(seconds: unknown): number {
  const isValid = Number.isInteger(seconds) && Number(seconds) >= 1 && Number(seconds) <= MAX_AFFINITY_SECONDS;
  return isValid ? Number(seconds) : DEFAULT_AFFINITY_SECONDS;
}

/** The address where it is of this family; told when it is of none. */
function addressOr(field: string, text: string | undefined, family: IpFamily, onProblem: OnProblem): string[] {
  const address = addressOfFamily(text, family);
  if (address) return [address];
  const other = addressOfFamily(text, family === 'IPv4' ? 'IPv6' : 'IPv4');
  // A load balancer may have a host name only.
  if (text && !other) onProblem('InvalidService', `${field}: ${JSON.stringify(text)} is no IP address`);
  return [];
}

function isAllowed(ip: string, { externalIps, onProblem }: ServiceReading): boolean {
  const refuse = (why: string) => onProblem('ExternalIPNotAllowed', `external IP ${ip} is not served: ${why}`);
  if (!isReachable(ip)) refuse('no host has it for others');
  else if (externalIps?.forbidden.some((cidr) => cidrContains(cidr, ip))) refuse("it is of the pods' addresses");
  else if (externalIps && !externalIps.allowed.some((cidr) => cidrContains(cidr, ip)))
    refuse('it is in none of the blocks of berth.externalIPCIDRs in the configuration of the proxy');
  else return true;
  return false;
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

/** A range that holds every address allows all, and is as good as none. Undefined when there are ranges but none makes sense. */
function sourceRanges(ranges: readonly string[], family: IpFamily, onProblem: OnProblem): string[] | undefined {
  const isValid = (range: string) => (cidrOfFamily(range, 'IPv4') ?? cidrOfFamily(range, 'IPv6')) !== undefined;
  const valid = ranges.filter(isValid);
  for (const range of ranges)
    if (!isValid(range))
      onProblem(
        'InvalidService',
        `spec.loadBalancerSourceRanges: ${JSON.stringify(range)} is no CIDR; it admits nobody`,
      );
  if (ranges.length > 0 && valid.length === 0) return undefined;
  const ofFamily = valid.flatMap((range) => cidrOfFamily(range, family) ?? []);
  return ofFamily.some((range) => range.endsWith('/0')) ? [] : [...new Set(ofFamily)];
}

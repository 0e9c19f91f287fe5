import { isIP } from 'node:net';
import type { Service, ServicePort } from '../../../src/kube/types.ts';
import { duplicate, type FieldError, forbidden, invalid, notSupported, required } from '../../apiserver/field-error.ts';
import { labelKeyProblems, validateLabels } from '../../apiserver/labels.ts';
import { labelName, subdomainName } from '../../apiserver/names.ts';

import { PROTOCOLS } from '../pod-spec/containers.ts';
import { validatePort } from '../pod-spec/probes.ts';
import { cidrProblems, invalidFor, ipProblems, portNumberProblems, specialIpProblems } from '../values.ts';
import { validateAddressing } from './addressing.ts';
import { isExternal, isHeadless, needsHealthCheckPort } from './kind-of-service.ts';

const TYPES = ['ClusterIP', 'ExternalName', 'LoadBalancer', 'NodePort'];
const TRAFFIC_POLICIES = ['Cluster', 'Local'];
const LONGEST_AFFINITY_SECONDS = 86_400;

/** Rules of a Service (upstream's ValidateService). */
export function validateService(service: Service): FieldError[] {
  const { spec } = service;
  const errors: FieldError[] = [];
  const ports = spec.ports ?? [];
  if (ports.length === 0 && !isHeadless(service) && spec.type !== 'ExternalName') errors.push(required('spec.ports'));
  errors.push(...validateType(service));
  errors.push(...validatePorts(ports));
  errors.push(...validateLabels(spec.selector, 'spec.selector'));
  errors.push(...validateAffinity(service));
  errors.push(...validateAddressing(service));
  (spec.externalIPs ?? []).forEach((address, index) => {
    const problems = ipProblems(address);
    errors.push(
      ...invalidFor(`spec.externalIPs[${index}]`, address, problems.length > 0 ? problems : specialIpProblems(address)),
    );
  });
  if (!spec.type) errors.push(required('spec.type'));
  else if (!TYPES.includes(spec.type)) errors.push(notSupported('spec.type', spec.type, TYPES));
  errors.push(...validateNodePorts(service));
  errors.push(...validateLoadBalancer(service));
  errors.push(...validateTrafficPolicies(service));
  return errors;
}

function validateType(service: Service): FieldError[] {
  const { spec } = service;
  if (spec.type === 'LoadBalancer' || spec.type === 'NodePort')
    return isHeadless(service)
      ? [invalid('spec.clusterIPs[0]', 'None', `may not be set to 'None' for ${spec.type} services`)]
      : [];
  if (spec.type !== 'ExternalName') return [];
  const why = 'may not be set for ExternalName services';
  const errors: FieldError[] = [];
  if ((spec.clusterIPs ?? []).length > 0) errors.push(forbidden('spec.clusterIPs', why));
  if ((spec.ipFamilies ?? []).length > 0) errors.push(forbidden('spec.ipFamilies', why));
  if (spec.ipFamilyPolicy) errors.push(forbidden('spec.ipFamilyPolicy', why));
  const target = (spec.externalName ?? '').replace(/\.$/, '');
  errors.push(
    ...(target ? invalidFor('spec.externalName', target, subdomainName(target)) : [required('spec.externalName')]),
  );
  return errors;
}

function validatePorts(ports: readonly ServicePort[]): FieldError[] {
  const names = new Set<string>();
  const errors = ports.flatMap((port, index) => {
    const at = `spec.ports[${index}]`;
    const own: FieldError[] = [];
    if (port.name) {
      own.push(...invalidFor(`${at}.name`, port.name, labelName(port.name)));
      if (names.has(port.name)) own.push(duplicate(`${at}.name`, port.name));
      names.add(port.name);
    } else if (ports.length > 1) own.push(required(`${at}.name`));
    own.push(...invalidFor(`${at}.port`, port.port ?? 0, portNumberProblems(port.port ?? 0)));
    if (!port.protocol) own.push(required(`${at}.protocol`));
    else if (!PROTOCOLS.includes(port.protocol)) own.push(notSupported(`${at}.protocol`, port.protocol, PROTOCOLS));
    own.push(...validatePort(port.targetPort, `${at}.targetPort`));
    if (port.appProtocol)
      own.push(...invalidFor(`${at}.appProtocol`, port.appProtocol, labelKeyProblems(port.appProtocol)));
    return own;
  });
  const seen = new Set<string>();
  ports.forEach((port, index) => {
    const key = `${port.protocol}/${port.port}`;
    if (seen.has(key)) errors.push(duplicate(`spec.ports[${index}]`, { protocol: port.protocol, port: port.port }));
    seen.add(key);
  });
  return errors;
}

function validateNodePorts({ spec }: Service): FieldError[] {
  const seen = new Set<string>();
  return (spec.ports ?? []).flatMap((port, index) => {
    if (!port.nodePort) return [];
    const at = `spec.ports[${index}].nodePort`;
    const errors: FieldError[] = [];
    if (spec.type === 'ClusterIP') errors.push(forbidden(at, "may not be used when `type` is 'ClusterIP'"));
    const key = `${port.protocol}/${port.nodePort}`;
    if (seen.has(key)) errors.push(duplicate(at, port.nodePort));
    seen.add(key);
    return errors;
  });
}

function validateAffinity({ spec }: Service): FieldError[] {
  const at = 'spec.sessionAffinityConfig';
  switch (spec.sessionAffinity) {
    case undefined:
      return [required('spec.sessionAffinity')];
    case 'None':
      return spec.sessionAffinityConfig ? [forbidden(at, 'must not be set when session affinity is None')] : [];
    case 'ClientIP': {
      const seconds = spec.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? 0;
      return seconds > 0 && seconds <= LONGEST_AFFINITY_SECONDS
        ? []
        : [
            invalid(
              `${at}.clientIP.timeoutSeconds`,
              seconds,
              `must be greater than 0 and less than ${LONGEST_AFFINITY_SECONDS}`,
            ),
          ];
    }
    default:
      return [notSupported('spec.sessionAffinity', spec.sessionAffinity, ['ClientIP', 'None'])];
  }
}

function validateLoadBalancer({ spec }: Service): FieldError[] {
  const isLoadBalancer = spec.type === 'LoadBalancer';
  const only = "may only be used when `type` is 'LoadBalancer'";
  const errors: FieldError[] = [];
  const ranges = spec.loadBalancerSourceRanges ?? [];
  // Upstream's path, capital and all.
  const at = 'spec.LoadBalancerSourceRanges';
  if (ranges.length > 0 && !isLoadBalancer) errors.push(forbidden(at, only));
  ranges.forEach((range, index) => {
    errors.push(...invalidFor(`${at}[${index}]`, range.trim(), cidrProblems(range.trim())));
  });
  if (typeof spec.allocateLoadBalancerNodePorts === 'boolean' && !isLoadBalancer)
    errors.push(forbidden('spec.allocateLoadBalancerNodePorts', only));
  if (spec.loadBalancerClass !== undefined) {
    if (!isLoadBalancer) errors.push(forbidden('spec.loadBalancerClass', only));
    errors.push(
      ...invalidFor('spec.loadBalancerClass', spec.loadBalancerClass, labelKeyProblems(spec.loadBalancerClass)),
    );
  }
  return errors;
}

function validateTrafficPolicies(service: Service): FieldError[] {
  const { spec } = service;
  const errors: FieldError[] = [];
  const { externalTrafficPolicy: external, internalTrafficPolicy: internal, healthCheckNodePort: health } = spec;
  if (!isExternal(service)) {
    if (external)
      errors.push(
        invalid('spec.externalTrafficPolicy', external, 'may only be set for externally-accessible services'),
      );
  } else if (!external) errors.push(required('spec.externalTrafficPolicy'));
  else if (!TRAFFIC_POLICIES.includes(external))
    errors.push(notSupported('spec.externalTrafficPolicy', external, TRAFFIC_POLICIES));
  if (health && !needsHealthCheckPort(service))
    errors.push(
      invalid(
        'spec.healthCheckNodePort',
        health,
        "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
      ),
    );
  if (health) errors.push(...invalidFor('spec.healthCheckNodePort', health, portNumberProblems(health)));
  if (internal && !TRAFFIC_POLICIES.includes(internal))
    errors.push(notSupported('spec.internalTrafficPolicy', internal, TRAFFIC_POLICIES));
  const distributions = ['PreferClose', 'PreferSameNode', 'PreferSameZone'];
  if (spec.trafficDistribution && !distributions.includes(spec.trafficDistribution))
    errors.push(notSupported('spec.trafficDistribution', spec.trafficDistribution, distributions));
  return errors;
}

/** What may not change once it is set; types may, and with ExternalName the addresses. */
export function validateServiceUpdate(service: Service, old: Service): FieldError[] {
  const { spec } = service;
  const before = old.spec;
  const errors: FieldError[] = [];
  const wasOrIsAlias = spec.type === 'ExternalName' || before.type === 'ExternalName';
  if (!wasOrIsAlias && !(isHeadless(service) && isHeadless(old))) {
    const now = spec.clusterIPs ?? [];
    (before.clusterIPs ?? []).forEach((address, index) => {
      // A second one that is gone is the policy's matter.
      if (now[index] === address || (index === 1 && now.length === 1)) return;
      const why = now.length === 0 ? 'primary clusterIP can not be unset' : 'may not change once set';
      errors.push(invalid(`spec.clusterIPs[${index}]`, now, why));
    });
  }
  if (!wasOrIsAlias && before.ipFamilies?.[0] && spec.ipFamilies?.[0] !== before.ipFamilies[0])
    errors.push(invalid('spec.ipFamilies[0]', spec.ipFamilies ?? null, 'may not change once set'));
  const [, second] = before.ipFamilies ?? [];
  if (!wasOrIsAlias && second && spec.ipFamilies?.[1] && spec.ipFamilies[1] !== second)
    errors.push(invalid('spec.ipFamilies[1]', spec.ipFamilies, 'may not change once set'));
  if (
    before.type === 'LoadBalancer' &&
    spec.type === 'LoadBalancer' &&
    spec.loadBalancerClass !== before.loadBalancerClass
  )
    errors.push(invalid('spec.loadBalancerClass', spec.loadBalancerClass ?? null, 'may not change once set'));
  if (
    needsHealthCheckPort(old) &&
    needsHealthCheckPort(service) &&
    spec.healthCheckNodePort !== before.healthCheckNodePort
  )
    errors.push(forbidden('spec.healthCheckNodePort', 'field is immutable'));
  return errors;
}

/** Ingress points that a load balancer reports. */
export function validateServiceStatus(service: Service): FieldError[] {
  const at = 'status.loadBalancer.ingress';
  const ingress = service.status?.loadBalancer?.ingress ?? [];
  const errors: FieldError[] = [];
  if (ingress.length > 0 && service.spec.type !== 'LoadBalancer')
    errors.push(forbidden('status.loadBalancer.ingress', "may only be used when `spec.type` is 'LoadBalancer'"));
  ingress.forEach(({ ip, hostname, ipMode }, index) => {
    if (ip) errors.push(...invalidFor(`${at}[${index}].ip`, ip, ipProblems(ip)));
    if (hostname) {
      if (isIP(hostname))
        errors.push(invalid(`${at}[${index}].hostname`, hostname, 'must be a DNS name, not an IP address'));
      else errors.push(...invalidFor(`${at}[${index}].hostname`, hostname, subdomainName(hostname)));
    }
    if (ipMode && !['Proxy', 'VIP'].includes(ipMode))
      errors.push(notSupported(`${at}[${index}].ipMode`, ipMode, ['Proxy', 'VIP']));
  });
  return errors;
}

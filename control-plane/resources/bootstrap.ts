import { isIPv6 } from 'node:net';
import type { KubeClient } from '../../src/kube/client.ts';
import { endpointSlices, endpoints, namespaces, serviceCidrs, services } from '../../src/kube/resources.ts';
import type { ServiceCIDR } from '../../src/kube/schema/generated/types/networking-v1.ts';
import type { Draft, EndpointSlice, Endpoints, Service, ServicePort } from '../../src/kube/types.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { semanticEqual } from './equality.ts';
import { DEFAULT_NAMESPACES } from './namespaces.ts';
import { ensureObject, keepEnsured, mendSlice } from './owned-objects.ts';
import { DEFAULT_SERVICE_CIDR } from './servicecidrs.ts';
import { specialIpProblems } from './values.ts';

const NAME = 'kubernetes';
const NAMESPACE = 'default';

export interface BootstrapOptions {
  /** Where pods reach the API server; a loopback address is no use to them. */
  advertiseAddress: string;
  securePort: number;
  /** The allocator's `firstAddress`. */
  serviceAddress: string;
  /** What the allocator gives addresses from. */
  serviceCidrs: readonly string[];
}

export interface BootstrapDependencies {
  /** With an administrator's rights. */
  client: Pick<KubeClient, 'get' | 'create' | 'replace'>;
  clock: Clock;
  log: Logger;
}

export interface Bootstrap {
  /** Creates what is missing and mends what differs, once. Rejects when the API server refuses. */
  ensure(signal?: AbortSignal): Promise<void>;
  /** Does so every ten seconds until aborted; failures are logged and tried again. */
  run(signal: AbortSignal): Promise<void>;
}

/** The default namespaces, the range of cluster IPs, and the Service `kubernetes` with its endpoints. Idempotent. */
export function createBootstrap(options: BootstrapOptions, dependencies: BootstrapDependencies): Bootstrap {
  const { client, clock, log } = dependencies;
  const isReachable = specialIpProblems(options.advertiseAddress).length === 0;
  if (!isReachable)
    log.warn(
      { advertiseAddress: options.advertiseAddress },
      'pods will not reach the API server by the Service kubernetes: its advertised address is no address that other hosts can use',
    );

  async function ensure(signal?: AbortSignal): Promise<void> {
    await Promise.all(
      DEFAULT_NAMESPACES.map((name) =>
        ensureObject(client, namespaces, { metadata: { name }, spec: {} }, () => false, signal),
      ),
    );
    const cidrs = [...options.serviceCidrs];
    const range = { metadata: { name: DEFAULT_SERVICE_CIDR }, spec: { cidrs } };
    await ensureObject(client, serviceCidrs, range, (object) => mendRange(object, cidrs), signal);
    await ensureObject(client, services, serviceDraft(options), (object) => mendService(object, options), signal);
    if (!isReachable) return;
    const slice = sliceDraft(options);
    const oldStyle = endpointsDraft(options);
    await Promise.all([
      ensureObject(client, endpointSlices, slice, (object) => mendSlice(object, slice), signal),
      ensureObject(client, endpoints, oldStyle, (object) => mendEndpoints(object, oldStyle), signal),
    ]);
  }

  return {
    ensure,
    run: (signal) =>
      keepEnsured(ensure, signal, {
        clock,
        log,
        problem: 'the default namespaces and the Service kubernetes could not be kept',
      }),
  };
}

const servicePorts = ({ securePort }: BootstrapOptions): ServicePort[] => [
  { name: 'https', protocol: 'TCP', port: 443, targetPort: securePort },
];

const endpointPorts = ({ securePort }: BootstrapOptions) => [
  { name: 'https', port: securePort, protocol: 'TCP' as const },
];

function serviceDraft(options: BootstrapOptions): Draft<Service> {
  return {
    metadata: { name: NAME, namespace: NAMESPACE, labels: { component: 'apiserver', provider: 'kubernetes' } },
    spec: {
      type: 'ClusterIP',
      clusterIP: options.serviceAddress,
      clusterIPs: [options.serviceAddress],
      ports: servicePorts(options),
      sessionAffinity: 'None',
    },
  };
}

function mendRange({ spec }: ServiceCIDR, cidrs: string[]): boolean {
  if (semanticEqual(spec.cidrs, cidrs)) return false;
  spec.cidrs = cidrs;
  return true;
}

function mendService({ spec }: Service, options: BootstrapOptions): boolean {
  const wanted = servicePorts(options);
  if (semanticEqual(spec.ports, wanted)) return false;
  spec.ports = wanted;
  return true;
}

function sliceDraft(options: BootstrapOptions): Draft<EndpointSlice> {
  return {
    metadata: { name: NAME, namespace: NAMESPACE, labels: { 'kubernetes.io/service-name': NAME } },
    addressType: isIPv6(options.advertiseAddress) ? 'IPv6' : 'IPv4',
    endpoints: [{ addresses: [options.advertiseAddress], conditions: { ready: true } }],
    ports: endpointPorts(options),
  };
}

function endpointsDraft(options: BootstrapOptions): Draft<Endpoints> {
  return {
    // A slice of its own stands beside it: nobody shall mirror this one.
    metadata: { name: NAME, namespace: NAMESPACE, labels: { 'endpointslice.kubernetes.io/skip-mirror': 'true' } },
    subsets: [{ addresses: [{ ip: options.advertiseAddress }], ports: endpointPorts(options) }],
  };
}

function mendEndpoints(object: Endpoints, wanted: Draft<Endpoints>): boolean {
  if (semanticEqual(object.subsets, wanted.subsets)) return false;
  object.subsets = wanted.subsets;
  return true;
}

import { isIPv6 } from 'node:net';
import { endpointSlices, services } from '../../src/kube/resources.ts';
import type { Draft, EndpointSlice, Service } from '../../src/kube/types.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { semanticEqual } from './equality.ts';
import { ensureObject, keepEnsured, mendSlice, type OwnerClient } from './owned-objects.ts';

/** The names by which every cluster's DNS is known. */
const NAME = 'kube-dns';
const NAMESPACE = 'kube-system';

export interface DnsServiceOptions {
  /** The Service's address: the tenth of its range, which every pod's resolv.conf names. */
  serviceAddress: string;
  /** Where the server listens. */
  endpoint: { address: string; port: number };
}

/**
 * Keeps the Service `kube-dns` and the slice that leads to the server: on a node's own address and a high port, so that the node's
 * port 53 stays free for others.
 */
export function createDnsService(
  options: DnsServiceOptions,
  dependencies: { client: OwnerClient; clock: Clock; log: Logger },
) {
  const { client, clock, log } = dependencies;
  const service = serviceDraft(options);
  const slice = sliceDraft(options);

  async function ensure(signal?: AbortSignal): Promise<void> {
    await ensureObject(client, services, service, (object) => mendService(object, service), signal);
    await ensureObject(client, endpointSlices, slice, (object) => mendSlice(object, slice), signal);
  }

  return {
    ensure,
    run: (signal: AbortSignal) =>
      keepEnsured(ensure, signal, { clock, log, problem: 'the Service kube-dns could not be kept' }),
  };
}

function serviceDraft({ serviceAddress }: DnsServiceOptions): Draft<Service> {
  return {
    metadata: {
      name: NAME,
      namespace: NAMESPACE,
      labels: {
        'k8s-app': NAME,
        'kubernetes.io/cluster-service': 'true',
        'kubernetes.io/name': 'CoreDNS',
      },
    },
    spec: {
      type: 'ClusterIP',
      clusterIP: serviceAddress,
      clusterIPs: [serviceAddress],
      ports: [
        { name: 'dns', protocol: 'UDP', port: 53, targetPort: 53 },
        { name: 'dns-tcp', protocol: 'TCP', port: 53, targetPort: 53 },
      ],
      sessionAffinity: 'None',
    },
  };
}

function mendService({ spec }: Service, wanted: Draft<Service>): boolean {
  if (semanticEqual(spec.ports, wanted.spec.ports) && spec.selector === undefined) return false;
  spec.ports = wanted.spec.ports;
  // A selector would have the endpoint controller replace our slice by pods that there are none of.
  delete spec.selector;
  return true;
}

function sliceDraft({ endpoint }: DnsServiceOptions): Draft<EndpointSlice> {
  return {
    metadata: {
      name: NAME,
      namespace: NAMESPACE,
      labels: { 'kubernetes.io/service-name': NAME, 'k8s-app': NAME },
    },
    addressType: isIPv6(endpoint.address) ? 'IPv6' : 'IPv4',
    endpoints: [{ addresses: [endpoint.address], conditions: { ready: true, serving: true, terminating: false } }],
    ports: [
      { name: 'dns', protocol: 'UDP', port: endpoint.port },
      { name: 'dns-tcp', protocol: 'TCP', port: endpoint.port },
    ],
  };
}

import type { NodeRenderOptions } from '../../proxy/mode.ts';
import type { ProxySnapshot } from '../../proxy/state/model.ts';
import { createChangeTracker } from '../../proxy/state/tracker.ts';
import type { Endpoint, EndpointSlice, Service, ServiceSpec } from '../../src/kube/types.ts';
import type { IpFamily } from '../../src/netfilter/tables.ts';

export const NODE_NAME = 'node-1';

type ServiceExtras = Partial<ServiceSpec> & {
  labels?: Record<string, string>;
  ingress?: NonNullable<NonNullable<Service['status']>['loadBalancer']>['ingress'];
};

/** `serviceOf('ns/name', '10.96.0.1', { … })` with one TCP port 80 unless `ports` says otherwise. */
export function serviceOf(key: string, clusterIP: string, { labels, ingress, ...spec }: ServiceExtras = {}): Service {
  const [namespace, name] = key.split('/') as [string, string];
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace, name, labels, uid: key, resourceVersion: '1', creationTimestamp: '2026-01-01T00:00:00Z' },
    spec: { type: 'ClusterIP', clusterIP, clusterIPs: [clusterIP], ports: [{ port: 80, protocol: 'TCP' }], ...spec },
    status: { loadBalancer: { ingress } },
  } as Service;
}

export interface EndpointSpec extends Partial<Endpoint> {
  ip: string;
}

/** `sliceOf('ns/name', ['10.244.0.2', { ip: '10.244.1.2', nodeName: 'node-2' }])`, serving port 8080 unless `ports` says otherwise. */
export function sliceOf(
  service: string,
  endpoints: readonly (string | EndpointSpec)[],
  options: {
    suffix?: string;
    ports?: EndpointSlice['ports'];
    addressType?: IpFamily;
    annotations?: Record<string, string>;
  } = {},
): EndpointSlice {
  const [namespace, name] = service.split('/') as [string, string];
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      namespace,
      name: `${name}-${options.suffix ?? 'a'}`,
      labels: { 'kubernetes.io/service-name': name },
      annotations: options.annotations,
      uid: `${service}-${options.suffix ?? 'a'}`,
      resourceVersion: '1',
      creationTimestamp: '2026-01-01T00:00:00Z',
    },
    addressType: options.addressType ?? 'IPv4',
    ports: options.ports ?? [{ name: '', port: 8080, protocol: 'TCP' }],
    endpoints: endpoints.map((endpoint) => {
      const { ip, ...rest } = typeof endpoint === 'string' ? { ip: endpoint } : endpoint;
      return { addresses: [ip], nodeName: NODE_NAME, conditions: { ready: true }, ...rest };
    }),
  } as EndpointSlice;
}

export function snapshotOf(
  services: readonly Service[],
  slices: readonly EndpointSlice[],
  family: IpFamily = 'IPv4',
): ProxySnapshot {
  const tracker = createChangeTracker({ family, nodeName: NODE_NAME });
  for (const service of services) tracker.setService(service);
  for (const slice of slices) tracker.setSlice(slice);
  return tracker.take().snapshot;
}

export const NODE_OPTIONS: NodeRenderOptions = {
  node: { nodeName: NODE_NAME, zone: '' },
  nodeIps: ['192.168.0.2'],
  localDetector: { kind: 'cidr', cidr: '10.244.0.0/16' },
  masqueradeAll: false,
  masqueradeMark: 0x4000,
  localhostNodePorts: true,
  conntrackTcpBeLiberal: false,
  serviceCidrs: [],
};

import type { EndpointSlice, Service } from '../../src/kube/types.ts';
import { NODE_NAME, serviceOf, sliceOf } from './proxy.ts';
import type { Random } from './random.ts';

/** Services by index: everything that tells one from another (addresses, ports) follows from it, so that none collide. */
export interface RandomService {
  service: Service;
  slices: EndpointSlice[];
}

/** Addresses of pods of this node that really exist in test worlds come first. */
export interface RandomWorldOptions {
  localIps: readonly string[];
  remoteIps: readonly string[];
  protocols?: readonly ('TCP' | 'UDP' | 'SCTP')[];
}

export const ZONE = 'zone-a';

/** Service number `index` with whatever features chance gives it. */
export function randomService(random: Random, index: number, options: RandomWorldOptions): RandomService {
  const key = `ns/s${index}`;
  const type = random.pick(['ClusterIP', 'ClusterIP', 'NodePort', 'LoadBalancer'] as const);
  const isExternal = type !== 'ClusterIP';
  const ports = random
    .pick([
      ['', 'web'],
      ['web', 'dns'],
    ] as const)
    .slice(0, 1 + random.below(2))
    .map((name, at, all) => ({
      name: all.length > 1 ? name || 'first' : '',
      port: 80 + at,
      nodePort: isExternal ? 30_000 + index * 10 + at : undefined,
      protocol: random.pick(options.protocols ?? (['TCP', 'TCP', 'UDP', 'SCTP'] as const)),
    }));
  const service = serviceOf(key, `10.96.${index >> 8}.${1 + (index & 0xff)}`, {
    type,
    ports,
    internalTrafficPolicy: random.isTrue(0.25) ? 'Local' : 'Cluster',
    ...(isExternal && { externalTrafficPolicy: random.isTrue(0.5) ? 'Local' : 'Cluster' }),
    ...(random.isTrue(0.3) && { externalIPs: [`198.51.100.${1 + index}`] }),
    ...(random.isTrue(0.2) && { sessionAffinity: 'ClientIP' as const }),
    ...(type === 'LoadBalancer' && {
      ingress: [{ ip: `198.18.0.${1 + index}`, ...(random.isTrue(0.2) && { ipMode: 'Proxy' as const }) }],
      ...(random.isTrue(0.5) && {
        loadBalancerSourceRanges: [random.pick(['203.0.113.0/25', '192.168.0.0/24', '10.244.0.0/16'])],
      }),
    }),
  });
  return { service, slices: randomSlices(random, service, options) };
}

/** No, one or two slices; an address stands in one of them only. */
export function randomSlices(random: Random, service: Service, options: RandomWorldOptions): EndpointSlice[] {
  const key = `${service.metadata.namespace}/${service.metadata.name}`;
  const hasHints = random.isTrue(0.3);
  const endpoints = [
    ...options.localIps.map((ip) => ({ ip, nodeName: NODE_NAME })),
    ...options.remoteIps.map((ip) => ({ ip, nodeName: 'node-2' })),
  ]
    .filter(() => random.isTrue(0.4))
    .map((endpoint) => {
      const state = random.pick(['ready', 'ready', 'ready', 'unready', 'leaving', 'gone'] as const);
      return {
        ...endpoint,
        conditions: {
          ready: state === 'ready',
          serving: state === 'ready' || state === 'leaving',
          terminating: state === 'leaving' || state === 'gone',
        },
        ...(hasHints && { hints: { forZones: [{ name: random.pick([ZONE, ZONE, 'zone-b']) }] } }),
      };
    });
  const cut = random.below(endpoints.length + 1);
  const ports = (service.spec.ports ?? []).map(({ name, port, protocol }) => ({ name, port: 8000 + port, protocol }));
  return [endpoints.slice(0, cut), endpoints.slice(cut)].flatMap((part, at) =>
    part.length > 0 ? [sliceOf(key, part, { suffix: `${at}`, ports })] : [],
  );
}

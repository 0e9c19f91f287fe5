import { createChangeTracker } from '../../proxy/state/tracker.ts';
import type { EndpointSlice, Service } from '../../src/kube/types.ts';
import type { IpFamily } from '../../src/netfilter/tables.ts';
import { NODE_NAME, serviceOf, sliceOf } from './proxy.ts';

/** Numbers from a seed (mulberry32), so that a failing run can be had again. */
export function createRandom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296) * below);
  };
}

const SERVICES = 12;

/**
 * A small cluster in which anything may change into anything: types, policies, affinity, ranges, shared external addresses and node
 * ports, endpoints ready or not, here or elsewhere. `change()` alters one service or its endpoints, or takes it away.
 */
export function createRandomCluster(seed: number, family: IpFamily = 'IPv4') {
  const random = createRandom(seed);
  const tracker = createChangeTracker({ family, nodeName: NODE_NAME });
  const isV6 = family === 'IPv6';
  const services = new Map<string, Service>();
  const address = (net: number, host: number) =>
    isV6 ? `fd00:${net}::${host.toString(16)}` : `10.${net}.${host >> 8}.${host & 255}`;
  const oneOf = <T>(...all: T[]): T => all[random(all.length)]!;

  function putService(key: string, index: number): void {
    const type = oneOf('ClusterIP', 'NodePort', 'LoadBalancer');
    const ports = Array.from({ length: 1 + random(2) }, (_, at) => ({
      name: `p${at}`,
      port: 80 + at,
      protocol: oneOf('TCP', 'UDP', 'SCTP') as 'TCP',
      // Few: two services may name the same, as they do for a moment when one takes over from another.
      nodePort: type === 'ClusterIP' ? undefined : 30_000 + random(6),
    }));
    const service = serviceOf(key, address(96, index + 1), {
      type,
      ports,
      sessionAffinity: oneOf('None', 'None', 'ClientIP'),
      sessionAffinityConfig: { clientIP: { timeoutSeconds: oneOf(60, 600) } },
      internalTrafficPolicy: oneOf('Cluster', 'Cluster', 'Local'),
      externalTrafficPolicy: oneOf('Cluster', 'Local'),
      externalIPs: random(3) === 0 ? [address(97, 1 + random(3))] : [],
      loadBalancerSourceRanges: random(2) === 0 ? [isV6 ? 'fd00:98::/64' : '10.98.0.0/16'] : [],
      ingress: type === 'LoadBalancer' ? [{ ip: address(99, 1 + random(4)) }] : [],
    });
    services.set(key, service);
    tracker.setService(service);
  }

  function putEndpoints(key: string): EndpointSlice {
    const endpoints = Array.from({ length: random(5) }, () => ({
      ip: address(244, 1 + random(20)),
      nodeName: oneOf(NODE_NAME, 'node-2'),
      conditions: oneOf<Record<string, boolean>>(
        { ready: true },
        { ready: true },
        { ready: false, serving: true, terminating: true },
      ),
    }));
    const ports = ['TCP', 'UDP', 'SCTP'].flatMap((protocol) =>
      [0, 1].map((at) => ({ name: `p${at}`, port: 8080 + at, protocol: protocol as 'TCP' })),
    );
    const slice = sliceOf(key, endpoints, { addressType: family, ports });
    tracker.setSlice(slice);
    return slice;
  }

  return {
    tracker,
    change(): void {
      const index = random(SERVICES);
      const key = `ns/svc${index}`;
      const kind = random(10);
      if (!services.has(key) || kind < 3) putService(key, index);
      else if (kind < 4) {
        services.delete(key);
        tracker.deleteService(key);
      } else putEndpoints(key);
    },
  };
}

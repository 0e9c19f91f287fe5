import type { Service } from '../../../src/kube/types.ts';

/** What a Service's type and settings imply. */

export const isHeadless = ({ spec }: Service) => spec.clusterIPs?.[0] === 'None' || spec.clusterIP === 'None';

export const needsClusterIp = ({ spec }: Service) => spec.type !== 'ExternalName';

export const needsNodePorts = ({ spec }: Service) =>
  spec.type === 'NodePort' || (spec.type === 'LoadBalancer' && spec.allocateLoadBalancerNodePorts !== false);

export const needsHealthCheckPort = ({ spec }: Service) =>
  spec.type === 'LoadBalancer' && spec.externalTrafficPolicy === 'Local';

/** Reachable from outside of the cluster. */
export const isExternal = ({ spec }: Service) =>
  spec.type === 'NodePort' ||
  spec.type === 'LoadBalancer' ||
  (spec.type === 'ClusterIP' && (spec.externalIPs ?? []).length > 0);

import type { SetDefinition } from '../../src/netfilter/nfnetlink/set.ts';

/*
 * The sets and maps that all services share: a handful, however many services there are. The kernel finds a set by walking
 * all sets of a table, so one per service would make the first sync quadratic; and what changes with endpoints is elements
 * alone, which cost the same in a map of ten as in one of a million.
 */

/** Where each load-balanced chain finds its endpoints: consecutive slots, one of which it draws by lot. */
export const ENDPOINTS: SetDefinition = {
  name: 'endpoints',
  key: ['slot'],
  data: ['address', 'port'],
  comment: 'slots of services: which ones stands in the rule of each chain',
};

export const SERVICE_IPS: SetDefinition = {
  name: 'service-ips',
  key: ['address', 'protocol', 'port'],
  data: 'verdict',
  comment: 'ClusterIP, ExternalIP and LoadBalancer IP traffic',
};

export const SERVICE_NODEPORTS: SetDefinition = {
  name: 'service-nodeports',
  key: ['protocol', 'port'],
  data: 'verdict',
  comment: 'NodePort traffic',
};

export const NO_ENDPOINT_SERVICES: SetDefinition = {
  name: 'no-endpoint-services',
  key: ['address', 'protocol', 'port'],
  data: 'verdict',
  comment: 'vmap to drop or reject packets to services with no endpoints',
};

export const NO_ENDPOINT_NODEPORTS: SetDefinition = {
  name: 'no-endpoint-nodeports',
  key: ['protocol', 'port'],
  data: 'verdict',
  comment: 'vmap to drop or reject packets to service nodeports with no endpoints',
};

export const FIREWALL_IPS: SetDefinition = {
  name: 'firewall-ips',
  key: ['address', 'protocol', 'port'],
  data: 'verdict',
  comment: 'destinations that are subject to LoadBalancerSourceRanges',
};

export const CLUSTER_IPS: SetDefinition = { name: 'cluster-ips', key: ['address'], comment: 'active ClusterIPs' };

export const NODEPORT_IPS: SetDefinition = {
  name: 'nodeport-ips',
  key: ['address'],
  comment: 'IPs that accept NodePort traffic',
};

export const HAIRPIN_CONNECTIONS: SetDefinition = {
  name: 'hairpin-connections',
  key: ['address', 'address', 'protocol', 'port'],
  comment: 'local endpoints that may reach themselves through a service',
};

/** What services put elements into. */
export const SHARED_SETS: readonly SetDefinition[] = [
  SERVICE_IPS,
  SERVICE_NODEPORTS,
  NO_ENDPOINT_SERVICES,
  NO_ENDPOINT_NODEPORTS,
  FIREWALL_IPS,
  CLUSTER_IPS,
  HAIRPIN_CONNECTIONS,
];

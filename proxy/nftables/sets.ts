import type { SetDefinition } from '../../src/netfilter/nfnetlink/set.ts';

/*
 * The sets and maps of the table: a handful, however many services there are, and each of them is asked by few rules. That is
 * what the kernel's costs ask for. It finds a set by walking all sets of a table, so a set for each service would make the first
 * sync quadratic; and for each element of a map it walks the rules that ask the map, so a rule for each service would as well.
 */

/** What a packet to a service is known by. A NodePort has any address of the node. */
const DESTINATION = ['address', 'protocol', 'port'] as const;
const NODEPORT = ['protocol', 'port'] as const;
const ENDPOINT = ['address', 'port'] as const;

export const SERVICE_IPS: SetDefinition = {
  name: 'service-ips',
  key: DESTINATION,
  data: 'verdict',
  comment: 'ClusterIP, ExternalIP and LoadBalancer IP traffic',
};

export const SERVICE_NODEPORTS: SetDefinition = {
  name: 'service-nodeports',
  key: NODEPORT,
  data: 'verdict',
  comment: 'NodePort traffic',
};

/** Each destination has its endpoints under the indices 0, 1, … below the number that its chain draws from. */
export const SERVICE_ENDPOINTS: SetDefinition = {
  name: 'service-endpoints',
  key: [...DESTINATION, 'index'],
  data: ENDPOINT,
  comment: 'endpoints of service-ips, numbered',
};

export const NODEPORT_ENDPOINTS: SetDefinition = {
  name: 'nodeport-endpoints',
  key: [...NODEPORT, 'index'],
  data: ENDPOINT,
  comment: 'endpoints of service-nodeports, numbered',
};

/** Under externalTrafficPolicy Local, pods and the node itself reach endpoints on other nodes too. */
export const SERVICE_ALL_ENDPOINTS: SetDefinition = {
  name: 'service-all-endpoints',
  key: [...DESTINATION, 'index'],
  data: ENDPOINT,
  comment: 'for pods and the node, under externalTrafficPolicy Local',
};

export const NODEPORT_ALL_ENDPOINTS: SetDefinition = {
  name: 'nodeport-all-endpoints',
  key: [...NODEPORT, 'index'],
  data: ENDPOINT,
  comment: 'for pods and the node, under externalTrafficPolicy Local',
};

export const NO_ENDPOINT_SERVICES: SetDefinition = {
  name: 'no-endpoint-services',
  key: DESTINATION,
  data: 'verdict',
  comment: 'vmap to drop or reject packets to services with no endpoints',
};

export const NO_ENDPOINT_NODEPORTS: SetDefinition = {
  name: 'no-endpoint-nodeports',
  key: NODEPORT,
  data: 'verdict',
  comment: 'vmap to drop or reject packets to service nodeports with no endpoints',
};

export const FIREWALL_IPS: SetDefinition = {
  name: 'firewall-ips',
  key: DESTINATION,
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
  SERVICE_ENDPOINTS,
  NODEPORT_ENDPOINTS,
  SERVICE_ALL_ENDPOINTS,
  NODEPORT_ALL_ENDPOINTS,
  NO_ENDPOINT_SERVICES,
  NO_ENDPOINT_NODEPORTS,
  FIREWALL_IPS,
  CLUSTER_IPS,
  HAIRPIN_CONNECTIONS,
];

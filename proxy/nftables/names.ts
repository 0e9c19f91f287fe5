import { createHash } from 'node:crypto';
import type { Endpoint, ServicePort } from '../state/model.ts';

/** The table of each family: upstream's name, so that one proxy replaces the other's rules instead of adding to them. */
export const TABLE = 'kube-proxy';
export const TABLE_COMMENT = 'rules for kube-proxy';

/** Chains that all services share. Those in the first part are called by the kernel. */
export const CHAIN = {
  filterPreroutingPreDnat: 'filter-prerouting-pre-dnat',
  filterOutputPreDnat: 'filter-output-pre-dnat',
  natPrerouting: 'nat-prerouting',
  natOutput: 'nat-output',
  filterInput: 'filter-input',
  filterForward: 'filter-forward',
  filterOutput: 'filter-output',
  natPostrouting: 'nat-postrouting',

  firewallCheck: 'firewall-check',
  services: 'services',
  nodePortEndpointsCheck: 'nodeport-endpoints-check',
  serviceEndpointsCheck: 'service-endpoints-check',
  clusterIpsCheck: 'cluster-ips-check',
  masquerading: 'masquerading',
  reject: 'reject-chain',
} as const;

/** nf_tables takes 255 bytes; upstream stops here too. */
const NAME_LIMIT = 240;

/** Names of one service port's own objects. */
export interface ServicePortNames {
  cluster: string;
  local: string;
  external: string;
  firewall: string;
  endpoint(endpoint: Endpoint): { chain: string; affinitySet: string };
}

export function namesOf({ namespace, name, protocol, portName }: ServicePort): ServicePortNames {
  const identity = `${namespace}/${name}/${protocol.toLowerCase()}/${portName}`;
  const hashed = hashedName(identity);
  return {
    cluster: `service-${hashed}`,
    local: `local-${hashed}`,
    external: `external-${hashed}`,
    firewall: `firewall-${hashed}`,
    endpoint({ ip, port }) {
      // No colon in names: nft would take it for the end of one.
      const ofEndpoint = hashedName(`${identity}__${ip.replaceAll(':', '.')}/${port}`);
      return { chain: `endpoint-${ofEndpoint}`, affinitySet: `affinity-${ofEndpoint}` };
    },
  };
}

/** A hash keeps names apart when their ends are cut off. */
function hashedName(identity: string): string {
  const full = `${shortHash(identity)}-${identity}`;
  return full.length <= NAME_LIMIT ? full : `${full.slice(0, NAME_LIMIT - 3)}...`;
}

/** 8 characters of base32 of the SHA-256. */
function shortHash(text: string): string {
  const digest = createHash('sha256').update(text).digest();
  let bits = digest.readUIntBE(0, 5);
  let hash = '';
  for (let index = 0; index < 8; index++) {
    hash = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'[bits % 32] + hash;
    bits = Math.floor(bits / 32);
  }
  return hash;
}

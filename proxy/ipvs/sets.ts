import type { SetType } from '../../src/netfilter/ipset-messages.ts';
import type { IpFamily } from '../../src/netfilter/tables.ts';

interface SetDefinition {
  type: SetType;
  /** What kube-proxy writes beside rules that name the set. */
  comment: string;
}

/** kube-proxy's sets and one of ours, by the names that they have for IPv4. */
export const SETS = {
  'KUBE-LOOP-BACK': {
    type: 'hash:ip,port,ip',
    comment: 'Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose',
  },
  'KUBE-CLUSTER-IP': {
    type: 'hash:ip,port',
    comment: 'Kubernetes service cluster ip + port for masquerade purpose',
  },
  'KUBE-EXTERNAL-IP': {
    type: 'hash:ip,port',
    comment: 'Kubernetes service external ip + port for masquerade and filter purpose',
  },
  'KUBE-EXTERNAL-IP-LOCAL': {
    type: 'hash:ip,port',
    comment: 'Kubernetes service external ip + port with externalTrafficPolicy=local',
  },
  'KUBE-LOAD-BALANCER': { type: 'hash:ip,port', comment: 'Kubernetes service lb portal' },
  'KUBE-LOAD-BALANCER-FW': {
    type: 'hash:ip,port',
    comment: 'Kubernetes service load balancer ip + port for load balancer with sourceRange',
  },
  'KUBE-LOAD-BALANCER-LOCAL': {
    type: 'hash:ip,port',
    comment: 'Kubernetes service load balancer ip + port with externalTrafficPolicy=local',
  },
  'KUBE-LOAD-BALANCER-SOURCE-IP': {
    type: 'hash:ip,port,ip',
    comment: 'Kubernetes service load balancer ip + port + source IP for packet filter purpose',
  },
  'KUBE-LOAD-BALANCER-SOURCE-CIDR': {
    type: 'hash:ip,port,net',
    comment: 'Kubernetes service load balancer ip + port + source cidr for packet filter purpose',
  },
  'KUBE-NODE-PORT-TCP': { type: 'bitmap:port', comment: 'Kubernetes nodeport TCP port for masquerade purpose' },
  'KUBE-NODE-PORT-LOCAL-TCP': {
    type: 'bitmap:port',
    comment: 'Kubernetes nodeport TCP port with externalTrafficPolicy=local',
  },
  'KUBE-NODE-PORT-UDP': { type: 'bitmap:port', comment: 'Kubernetes nodeport UDP port for masquerade purpose' },
  'KUBE-NODE-PORT-LOCAL-UDP': {
    type: 'bitmap:port',
    comment: 'Kubernetes nodeport UDP port with externalTrafficPolicy=local',
  },
  'KUBE-NODE-PORT-SCTP-HASH': {
    type: 'hash:ip,port',
    comment: "Kubernetes nodeport SCTP port for masquerade purpose with type 'hash ip:port'",
  },
  'KUBE-NODE-PORT-LOCAL-SCTP-HASH': {
    type: 'hash:ip,port',
    comment: "Kubernetes nodeport SCTP port with externalTrafficPolicy=local with type 'hash ip:port'",
  },
  'KUBE-HEALTH-CHECK-NODE-PORT': { type: 'bitmap:port', comment: 'Kubernetes health check node port' },
  'KUBE-IPVS-IPS': { type: 'hash:ip', comment: 'Addresses on the ipvs interface' },
  // Ours alone: kube-proxy answers the outside with endpoints of other nodes there.
  'BERTH-NO-LOCAL-ENDPOINTS': {
    type: 'hash:ip,port',
    comment: 'external ip + port with externalTrafficPolicy=local and no endpoint on this node',
  },
} as const satisfies Record<string, SetDefinition>;

export type SetKey = keyof typeof SETS;

export const SET_KEYS = Object.keys(SETS) as SetKey[];

/** Sets of earlier versions of kube-proxy, which wrote SCTP's node ports as a bitmap. */
const FORMER_SETS = ['KUBE-NODE-PORT-SCTP', 'KUBE-NODE-PORT-LOCAL-SCTP'];

/** The kernel's limit of a set's name (IPSET_MAXNAMELEN without the zero). */
const NAME_LIMIT_CHARS = 31;

/** The name of a set in a family: both families' sets live side by side. */
export function setName(key: string, family: IpFamily): string {
  return family === 'IPv4' ? key : key.replace('-', '-6-').slice(0, NAME_LIMIT_CHARS);
}

/** Every name that this mode, of whatever version, has given to a set of a family. */
export function ownSetNames(family: IpFamily): string[] {
  return [...SET_KEYS, ...FORMER_SETS, SPARE].map((key) => setName(key, family));
}

const SPARE = 'BERTH-SPARE';

/** Under which a set is filled that takes the place of another. */
export function spareName(family: IpFamily): string {
  return setName(SPARE, family);
}

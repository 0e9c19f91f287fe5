import { hash } from 'node:crypto';
import type { ServicePort } from '../state/model.ts';

/** Chains that hold rules of all services. */
export const CHAIN = {
  services: 'KUBE-SERVICES',
  externalServices: 'KUBE-EXTERNAL-SERVICES',
  nodePorts: 'KUBE-NODEPORTS',
  forward: 'KUBE-FORWARD',
  proxyFirewall: 'KUBE-PROXY-FIREWALL',
  firewall: 'KUBE-FIREWALL',
  postrouting: 'KUBE-POSTROUTING',
  markMasq: 'KUBE-MARK-MASQ',
  canary: 'KUBE-PROXY-CANARY',
} as const;

/** The kubelet's own canary; where it stands, a kubelet is at home and KUBE-FIREWALL is shared with it. */
export const KUBELET_CANARY = 'KUBE-KUBELET-CANARY';

const SERVICE_CHAIN = /^KUBE-(SVC|SVL|EXT|FW|SEP|XLB)-/;

/** Whether a chain belongs to one service (XLB: of versions long gone). */
export function isServiceChain(chain: string): boolean {
  return SERVICE_CHAIN.test(chain);
}

/** Whether a chain is the proxy's own; KUBE-FIREWALL, which the kubelet looks after as well, counts. */
export function isProxyChain(chain: string): boolean {
  return SHARED_CHAINS.has(chain) || isServiceChain(chain);
}

const SHARED_CHAINS: ReadonlySet<string> = new Set(Object.values(CHAIN));

/** The chains of one service port, made of its `ns/name:port` and protocol as upstream makes them. */
export interface ServicePortChains {
  cluster: string;
  local: string;
  external: string;
  firewall: string;
  endpoint(address: string): string;
}

/** Rewriting KUBE-SERVICES asks for the names of all services: a digest each time would be most of its cost. */
const known = new WeakMap<ServicePort, string>();

export function serviceChainsOf(port: ServicePort): ServicePortChains {
  const identity = port.displayName + port.protocol.toLowerCase();
  const suffix = known.get(port) ?? chainHash(identity);
  known.set(port, suffix);
  return {
    cluster: `KUBE-SVC-${suffix}`,
    local: `KUBE-SVL-${suffix}`,
    external: `KUBE-EXT-${suffix}`,
    firewall: `KUBE-FW-${suffix}`,
    endpoint: (address) => `KUBE-SEP-${chainHash(identity + address)}`,
  };
}

const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

/** 16 characters of base32 of the SHA-256: chain names end at 28 characters, and what must not collide is a node's services. */
function chainHash(text: string): string {
  const digest = hash('sha256', text, 'buffer');
  let name = '';
  // Five bytes are eight characters.
  for (const at of [0, 5]) {
    const high = (digest[at]! << 12) | (digest[at + 1]! << 4) | (digest[at + 2]! >> 4);
    const low = ((digest[at + 2]! & 15) << 16) | (digest[at + 3]! << 8) | digest[at + 4]!;
    for (const half of [high, low]) for (let shift = 15; shift >= 0; shift -= 5) name += BASE32[(half >> shift) & 31]!;
  }
  return name;
}

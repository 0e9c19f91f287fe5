import { createHash } from 'node:crypto';
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

/** The chains of one service port, made of its `ns/name:port` and protocol as upstream makes them. */
export interface ServicePortChains {
  cluster: string;
  local: string;
  external: string;
  firewall: string;
  endpoint(address: string): string;
}

export function serviceChainsOf({ displayName, protocol }: ServicePort): ServicePortChains {
  const identity = displayName + protocol.toLowerCase();
  const hash = chainHash(identity);
  const endpoints = new Map<string, string>();
  return {
    cluster: `KUBE-SVC-${hash}`,
    local: `KUBE-SVL-${hash}`,
    external: `KUBE-EXT-${hash}`,
    firewall: `KUBE-FW-${hash}`,
    endpoint(address) {
      const known = endpoints.get(address);
      if (known) return known;
      const name = `KUBE-SEP-${chainHash(identity + address)}`;
      endpoints.set(address, name);
      return name;
    },
  };
}

/** 16 characters of base32 of the SHA-256: chain names end at 28 characters, and what must not collide is a node's services. */
function chainHash(text: string): string {
  const digest = createHash('sha256').update(text).digest();
  const bits = [...digest.subarray(0, 10)].map((byte) => byte.toString(2).padStart(8, '0')).join('');
  return bits.replaceAll(/.{5}/g, (five) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'[Number.parseInt(five, 2)]!);
}

import { isIP } from 'node:net';
import { summarizeCertificate } from '../../src/auth/certificate.ts';
import type { NodeAddress } from '../../src/kube/schema/generated/types/core-v1.ts';

export interface ServingNames {
  dnsNames: string[];
  ipAddresses: string[];
}

/** The addresses that the node's object has: its own, and those that a cloud's controller gives it. */
export interface NodeAddressSource {
  list(): readonly NodeAddress[] | undefined;
  onChange(listener: () => void): void;
}

/**
 * What a serving certificate is asked for: each address of the Node object, so that it is good for whatever clients read there. Before there is such an object, the node's name and the
 * addresses that it was started with. Sorted, each once. Pure.
 */
export function servingNames(
  { nodeName, nodeIps }: { nodeName: string; nodeIps: readonly string[] },
  addresses: readonly NodeAddress[] | undefined,
): ServingNames {
  const all = addresses?.length ? addresses.map(({ address }) => address) : [nodeName, ...nodeIps];
  const unique = [...new Set(all)].filter((one) => one !== '').sort();
  return { dnsNames: unique.filter((one) => isIP(one) === 0), ipAddresses: unique.filter((one) => isIP(one) !== 0) };
}

/** The names that a certificate is not good for. One that it has beyond them is no reason to ask for another. Pure. */
export function whichNamesLack(certPem: string, { dnsNames, ipAddresses }: ServingNames): string[] {
  const has = summarizeCertificate(certPem);
  const ips = new Set(has.ipAddresses.map(canonical));
  return [
    ...dnsNames.filter((name) => !has.dnsNames.includes(name)),
    ...ipAddresses.filter((address) => !ips.has(canonical(address))),
  ];
}

/** IPv6 addresses have several spellings. */
const canonical = (address: string) => (isIP(address) === 6 ? new URL(`http://[${address}]`).hostname : address);

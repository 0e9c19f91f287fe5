import { formatIp, fromBigInt, parsePrefix, toBigInt } from '../../src/linux/ip.ts';

/** Where every pod finds the cluster's DNS: the tenth address of the services'. */
export function dnsServiceAddress(serviceCidr: string): string {
  return addressAt(serviceCidr, 10);
}

/** The n-th address of a range: 10.96.0.1 is address 1 of 10.96.0.0/12. */
export function addressAt(cidr: string, offset: number): string {
  const prefix = parsePrefix(cidr);
  return formatIp(fromBigInt(toBigInt(prefix.address) + BigInt(offset), prefix.family));
}

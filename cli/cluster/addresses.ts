import { formatIp, fromBigInt, parsePrefix, toBigInt } from '../../src/linux/ip.ts';

/** Where every pod finds the cluster's DNS: the tenth address of the services'. */
export function dnsServiceAddress(serviceCidr: string): string {
  return addressAt(cidrsOf(serviceCidr)[0]!, 10);
}

/** `10.244.0.0/16,fd00:10:244::/56` as a flag or a file has them: the cluster's default family first. */
export function cidrsOf(text: string): string[] {
  return text.split(',').map((cidr) => cidr.trim());
}

/** The n-th address of a range: 10.96.0.1 is address 1 of 10.96.0.0/12. */
export function addressAt(cidr: string, offset: number): string {
  const prefix = parsePrefix(cidr);
  return formatIp(fromBigInt(toBigInt(prefix.address) + BigInt(offset), prefix.family));
}

import type { ServicePort } from '../state/model.ts';

/*
 * Pieces of rules as iptables-save prints them, in both of its variants: addresses with their prefix, comments in quotes, defaults spelled
 * out. iptables-restore reads them as well as any other spelling, and what comes back from the kernel can be compared letter by letter.
 */

/** One of `left` by chance, in ten digits as kube-proxy writes it, then as the kernel keeps it (31 bits) and iptables-save prints it. */
export function probability(left: number): string {
  return (Math.round(Number((1 / left).toFixed(10)) * 2 ** 31) / 2 ** 31).toFixed(11);
}

export function recentList(port: ServicePort, name: string): string {
  const mask = isIpv6(port) ? Array(8).fill('ffff').join(':') : '255.255.255.255';
  return `--name ${name} --mask ${mask} --rsource`;
}

/** In iptables-save's order: addresses and interfaces, protocol, the other matches (`about`), the port. */
export function matchPort(
  { protocol }: ServicePort,
  number: number,
  { destination, about, origin = '' }: { destination?: string; about: string; origin?: string },
): string {
  const name = protocol.toLowerCase();
  const to = destination === undefined ? '' : `-d ${asBlock(destination)}`;
  const where = (origin.includes('-i ') ? [to, origin] : [origin, to]).filter(Boolean);
  return [...where, `-p ${name} ${about} -m ${name} --dport ${number}`].join(' ');
}

export function asBlock(ip: string): string {
  return `${ip}/${ip.includes(':') ? 128 : 32}`;
}

export function isIpv6({ clusterIp }: ServicePort): boolean {
  return clusterIp.includes(':');
}

/** Counts the packet; always matches. The second blank is iptables-save's own. */
export function matchCounter(name: string): string {
  return `-m nfacct --nfacct-name  ${name}`;
}

export function comment(text: string): string {
  return `-m comment --comment "${text}"`;
}

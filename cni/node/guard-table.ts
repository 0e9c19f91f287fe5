/**
 * The node's own nftables table. It works beside whatever mode the proxy has, and from the first moment on:
 *
 * - what goes to the service CIDR and was translated by no service rule is rejected, whether it passes through (pods) or
 *   starts here (the node): it never leaves the host;
 * - what pods send out of the cluster takes the node's address;
 * - what comes from a link and is for 127.0.0.0/8 is dropped (CVE-2020-8558): host ports on localhost need route_localnet, at the bridge or everywhere, and with it the kernel
 *   would let pods and neighbours talk to whatever listens on localhost only. Whoever translates to localhost on purpose still may.
 *
 * Priorities: behind destination NAT (-100), before the iptables filter table (0), so that a DROP there does not swallow the answer.
 */
import { type MarkedChain, markedRule } from './marked-table.ts';

export const GUARD_TABLE = { family: 'inet', name: 'berth' } as const;

const GUARD_PRIORITY = -1;
const SRCNAT_PRIORITY = 100;
const MULTICAST = { ip: '224.0.0.0/4', ip6: 'ff00::/8' } as const;

export interface GuardOptions {
  /** One, or one of each address family. */
  clusterCidrs: readonly string[];
  serviceCidrs: readonly string[];
}

/** The chains with their rules. */
export function computeGuardChains({ clusterCidrs, serviceCidrs }: GuardOptions): MarkedChain[] {
  const reject = serviceCidrs.flatMap((cidr) => [
    // A reset also reaches a process of a node without a default route, where an ICMP error would lack a source address.
    markedRule(`${protocolOf(cidr)} daddr ${cidr} meta l4proto tcp counter reject with tcp reset`, 'no such service'),
    markedRule(`${protocolOf(cidr)} daddr ${cidr} counter reject with icmpx type port-unreachable`, 'no such service'),
  ]);
  const toLocalhost = 'iifname != "lo" ip daddr 127.0.0.0/8';
  return [
    {
      name: 'input',
      type: 'filter',
      hook: 'input',
      priority: GUARD_PRIORITY,
      rules: [
        markedRule(`${toLocalhost} ct status dnat accept`, 'translated to localhost'),
        markedRule(`${toLocalhost} ct state established,related accept`, 'answers to localhost'),
        markedRule(`${toLocalhost} counter drop`, 'localhost is not for neighbours'),
      ],
    },
    { name: 'forward', type: 'filter', hook: 'forward', priority: GUARD_PRIORITY, rules: reject },
    { name: 'output', type: 'filter', hook: 'output', priority: GUARD_PRIORITY, rules: reject },
    {
      name: 'postrouting',
      type: 'nat',
      hook: 'postrouting',
      priority: SRCNAT_PRIORITY,
      rules: clusterCidrs.map((cidr) => {
        const ip = protocolOf(cidr);
        const elsewhere = `${ip} daddr != { ${cidr}, ${MULTICAST[ip]} }`;
        return markedRule(
          `${ip} saddr ${cidr} ${elsewhere} counter masquerade fully-random`,
          'pods leaving the cluster',
        );
      }),
    },
  ];
}

const protocolOf = (cidr: string) => (cidr.includes(':') ? 'ip6' : 'ip');

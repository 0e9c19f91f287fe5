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
import { createHash } from 'node:crypto';
import type { NftObject } from '../../src/netfilter/nft.ts';

export const GUARD_TABLE = { family: 'inet', name: 'berth' } as const;

const GUARD_PRIORITY = -1;
const SRCNAT_PRIORITY = 100;
const MULTICAST = { ip: '224.0.0.0/4', ip6: 'ff00::/8' } as const;

interface GuardChain {
  name: string;
  type: 'filter' | 'nat';
  hook: 'input' | 'forward' | 'output' | 'postrouting';
  priority: number;
  rules: { text: string; comment: string }[];
}

export interface GuardOptions {
  /** One, or one of each address family. */
  clusterCidrs: readonly string[];
  serviceCidrs: readonly string[];
}

/** The chains with their rules. A rule's comment ends in a digest of its text: by it the kernel's rules are recognized, in whatever spelling nft lists them. */
export function computeGuardChains({ clusterCidrs, serviceCidrs }: GuardOptions): GuardChain[] {
  const reject = serviceCidrs.flatMap((cidr) => [
    // A reset also reaches a process of a node without a default route, where an ICMP error would lack a source address.
    rule(`${protocolOf(cidr)} daddr ${cidr} meta l4proto tcp counter reject with tcp reset`, 'no such service'),
    rule(`${protocolOf(cidr)} daddr ${cidr} counter reject with icmpx type port-unreachable`, 'no such service'),
  ]);
  const toLocalhost = 'iifname != "lo" ip daddr 127.0.0.0/8';
  return [
    {
      name: 'input',
      type: 'filter',
      hook: 'input',
      priority: GUARD_PRIORITY,
      rules: [
        rule(`${toLocalhost} ct status dnat accept`, 'translated to localhost'),
        rule(`${toLocalhost} ct state established,related accept`, 'answers to localhost'),
        rule(`${toLocalhost} counter drop`, 'localhost is not for neighbours'),
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
        return rule(`${ip} saddr ${cidr} ${elsewhere} counter masquerade fully-random`, 'pods leaving the cluster');
      }),
    },
  ];
}

const protocolOf = (cidr: string) => (cidr.includes(':') ? 'ip6' : 'ip');

function rule(text: string, purpose: string) {
  const digest = createHash('sha256').update(text).digest('hex').slice(0, 8);
  return { text, comment: `${purpose} ${digest}` };
}

/** One transaction that puts exactly these chains in place of whatever the table holds. */
export function renderGuardTable(chains: readonly GuardChain[]): string {
  const { family, name } = GUARD_TABLE;
  const body = chains.map(
    (chain) =>
      `  chain ${chain.name} {\n` +
      `    type ${chain.type} hook ${chain.hook} priority ${chain.priority}; policy accept;\n` +
      chain.rules.map(({ text, comment }) => `    ${text} comment "${comment}"\n`).join('') +
      '  }\n',
  );
  return `add table ${family} ${name}\ndelete table ${family} ${name}\ntable ${family} ${name} {\n${body.join('')}}\n`;
}

/** Takes a table away, whether it is there or not. */
export function renderTableRemoval({ family, name }: { family: string; name: string }): string {
  return `add table ${family} ${name}\ndelete table ${family} ${name}\n`;
}

/** Whether the kernel's table (as `nft -j list table` shows it) holds exactly these chains and rules, in order. */
export function isGuardInPlace(chains: readonly GuardChain[], objects: readonly NftObject[]): boolean {
  const want = chains.map((chain) =>
    describe(
      chain,
      chain.rules.map(({ comment }) => comment),
    ),
  );
  const have = objects.flatMap(({ chain }) =>
    chain
      ? describe(
          { name: chain.name, type: chain.type, hook: chain.hook, priority: chain.prio },
          objects.flatMap((object) => (object.rule?.chain === chain.name ? [String(object.rule?.comment)] : [])),
        )
      : [],
  );
  return JSON.stringify(want) === JSON.stringify(have);
}

function describe(
  chain: { name: unknown; type: unknown; hook: unknown; priority: unknown },
  comments: string[],
): string {
  return [chain.name, chain.type, chain.hook, chain.priority, ...comments].join('|');
}

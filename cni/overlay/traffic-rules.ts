/**
 * What flanneld's `--ip-masq` and `--iptables-forward-rules` do, for a node whose network nobody else looks after (in `berth node` the node's
 * own table does both, cni/node). The names are flannel's, so that one clean-up serves whoever has run here:
 *
 *     nft table ip flannel-ipv4 / ip6 flannel-ipv6, chain postrtg     pods leaving the cluster take the node's address
 *     iptables filter FORWARD → FLANNEL-FWD                           an accept that Docker's FORWARD policy DROP can't overrule
 */
import type { ForwardChain } from '../node/forward-rules.ts';
import { type MarkedChain, markedRule } from '../node/marked-table.ts';

export const FLANNEL_FORWARD_CHAIN = 'FLANNEL-FWD';
/** flanneld's masquerade in its iptables mode; ours takes its place. */
export const FLANNEL_MASQUERADE_CHAIN = 'FLANNEL-POSTRTG';

const SRCNAT_PRIORITY = 100;
/** The service proxy's mark: it masquerades such a packet itself, and twice is once too often. */
const PROXY_MARK = '0x4000';

interface FamilyRules {
  family: 4 | 6;
  /** All pods of the cluster. */
  network: string;
  /** This node's. */
  podCidr: string;
}

export function masqueradeTable(family: 4 | 6): { family: string; name: string } {
  return family === 4 ? { family: 'ip', name: 'flannel-ipv4' } : { family: 'ip6', name: 'flannel-ipv6' };
}

/** The rules in flanneld's order. */
export function computeMasquerade({ family, network, podCidr }: FamilyRules): MarkedChain[] {
  const ip = family === 4 ? 'ip' : 'ip6';
  const multicast = family === 4 ? '224.0.0.0/4' : 'ff00::/8';
  return [
    {
      name: 'postrtg',
      type: 'nat',
      hook: 'postrouting',
      priority: SRCNAT_PRIORITY,
      rules: [
        markedRule(`meta mark & ${PROXY_MARK} == ${PROXY_MARK} return`, 'of the service proxy'),
        markedRule(`${ip} saddr ${podCidr} ${ip} daddr ${network} return`, 'between pods'),
        markedRule(`${ip} saddr ${network} ${ip} daddr ${podCidr} return`, 'between pods'),
        markedRule(`${ip} saddr != ${network} ${ip} daddr ${podCidr} return`, 'to pods of this node'),
        markedRule(
          `${ip} saddr ${network} ${ip} daddr != ${multicast} counter masquerade fully-random`,
          'pods leaving the cluster',
        ),
        markedRule(
          `${ip} saddr != ${network} ${ip} daddr ${network} counter masquerade fully-random`,
          'from outside to pods of other nodes',
        ),
      ],
    },
  ];
}

/** Text and place as flanneld's: its rules are ours, and the other way round. */
export function flannelForwardChain(network: string): ForwardChain {
  const comment = '-m comment --comment "flanneld forward"';
  return {
    name: FLANNEL_FORWARD_CHAIN,
    jump: `${comment} -j ${FLANNEL_FORWARD_CHAIN}`,
    rules: [`-s ${network} ${comment} -j ACCEPT`, `-d ${network} ${comment} -j ACCEPT`],
  };
}

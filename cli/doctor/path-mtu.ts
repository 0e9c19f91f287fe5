import type { Peer } from '../../cni/overlay/backend.ts';
import { run } from '../../src/linux/exec.ts';
import type { Finding } from './finding.ts';

/** What the kernel believes of the way to an address, because a router said so; for ten minutes each time. */
export interface LearnedMtu {
  address: string;
  mtuBytes: number;
}

interface ShownRoute {
  dst: string;
  metrics?: { mtu?: number }[];
}

/** Empty where `ip` can't tell. */
export async function readLearnedMtus(): Promise<LearnedMtu[]> {
  const read = async (family: '-4' | '-6') => {
    const { stdout } = await run('ip', [family, '-json', 'route', 'show', 'cache']);
    return (JSON.parse(stdout || '[]') as ShownRoute[]).flatMap(({ dst, metrics }) => {
      const mtuBytes = metrics?.find(({ mtu }) => mtu !== undefined)?.mtu;
      return mtuBytes === undefined ? [] : [{ address: dst, mtuBytes }];
    });
  };
  const found = await Promise.allSettled([read('-4'), read('-6')]);
  return found.flatMap((one) => (one.status === 'fulfilled' ? one.value : []));
}

/**
 * The kernel keeps one such figure for an address, and tunnels to it heed it like everybody: a large datagram to another node's NodePort,
 * or a large answer to a pod behind a node's address, is refused by that node's narrower inside, and narrows the tunnel (projectcalico/calico
 * issue 1709). Pure.
 */
export function judgePathMtus(learned: readonly LearnedMtu[], peers: readonly Peer[]): Finding[] {
  const nodes = learned.flatMap(({ address, mtuBytes }) => {
    const peer = peers.find(({ publicIps }) => publicIps[4] === address || publicIps[6] === address);
    return peer ? [`${peer.node} (${address}): ${mtuBytes} bytes`] : [];
  });
  if (nodes.length === 0) return [];
  return [
    {
      check: 'path MTU to nodes',
      state: 'warning',
      detail: `the tunnels have less than their links, after what a router or the other node said of the way to ${nodes.slice(0, 3).join(', ')}`,
      remedy:
        "'ip route flush cache' and 'ip -6 route flush cache' forget it; if it comes back: a link on the way is narrower, or a program of the node sends large datagrams to a NodePort of the other one",
    },
  ];
}

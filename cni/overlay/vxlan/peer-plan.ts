import { formatIp, parsePrefix } from '../../../src/linux/ip.ts';
import type { Peer } from '../backend.ts';
import type { PeerRoute } from '../overlay-routes.ts';
import { readVtepMac } from './backend-data.ts';

/** Where a frame for another node goes: the neighbour entry `address` → `mac`, the forwarding entry `mac` → `destination`. */
export interface Tunnel {
  linkIndex: number;
  /** The first address of the peer's pod CIDR, which its device has. */
  address: string;
  mac: string;
  /** The peer on the underlay. */
  destination: string;
}

/** All that leads to one node's pods of one family. */
export interface Leg {
  tunnel?: Tunnel;
  route?: PeerRoute;
  /** Why there is neither. */
  reason?: string;
}

/**
 * One peer in one family. Pure; nothing and no reason for a peer that has no share of the family's pods (yet).
 * @param directLinkIndex the link on which the peer is reached without a router, where that is to be used.
 */
export function computeLeg(
  peer: Peer,
  family: 4 | 6,
  self: { vni: number; linkIndex: number; mac: string; directLinkIndex?: number },
): Leg {
  const podCidr = peer.podCidrs[family];
  const destination = peer.publicIps[family];
  if (!podCidr) return {};
  if (peer.backendType !== 'vxlan')
    return {
      reason:
        peer.backendType === undefined
          ? 'it has not said yet which backend it has (flannel annotations)'
          : `its backend is ${peer.backendType}, ours vxlan`,
    };
  if (!destination) return { reason: `it has no public IPv${family} address` };
  const data = readVtepMac(peer.backendData[family], self.vni);
  if ('reason' in data) return data;
  if (self.directLinkIndex !== undefined)
    return { route: { destination: podCidr, gateway: destination, linkIndex: self.directLinkIndex } };
  // The kernel drops what comes from its own address, without a word.
  if (data.mac === self.mac)
    return {
      reason: `its VtepMAC ${data.mac} is this node's own too (machines cloned from one image?): delete its device and its backend-data annotation, and start its overlay again`,
    };
  const { linkIndex } = self;
  const address = formatIp(parsePrefix(podCidr).address);
  return {
    tunnel: { linkIndex, address, mac: data.mac, destination },
    route: { destination: podCidr, gateway: address, linkIndex, onlink: true },
  };
}

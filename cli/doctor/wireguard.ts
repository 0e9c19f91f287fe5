import type { Peer } from '../../cni/overlay/backend.ts';
import { isNetlinkError } from '../../src/linux/netlink/socket.ts';
import { openWireguard, type Wireguard } from '../../src/linux/netlink/wireguard.ts';
import type { WireguardPeerState } from '../../src/linux/netlink/wireguard-messages.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Finding } from './finding.ts';

/** A peer of one of the overlay's WireGuard devices, as the kernel tells of it. */
export interface WireguardTraffic {
  publicKey: string;
  /** Where it is reached; undefined while that is not known. */
  address: string | undefined;
  /** Since the last handshake; undefined when there was none. */
  handshakeAgeSeconds: number | undefined;
  /** By the device's whole life; a handshake's own packets count. */
  sentBytes: number;
  receivedBytes: number;
  /** While we looked. */
  isSending: boolean;
  isReceiving: boolean;
}

/** A session that carries packets is made anew every two minutes, and after three it carries none (WireGuard's Reject-After-Time). */
const SESSION_SECONDS = 180;
/** Whoever has something to send asks for a session again after five seconds (Rekey-Timeout). */
const LOOK_MS = 5_500;

/** All peers of these links. Takes some seconds when one has no fresh session: whether something is sent to it is seen only by waiting. */
export async function readWireguardTraffic(
  links: readonly string[],
  { clock, netns }: { clock: Clock; netns?: string },
): Promise<WireguardTraffic[]> {
  if (links.length === 0) return [];
  const wireguard = await openWireguard(netns);
  if (!wireguard) return [];
  try {
    const first = await readPeers(wireguard, links);
    const isFresh = (peer: WireguardPeerState) => (ageOf(peer, clock) ?? Number.POSITIVE_INFINITY) <= SESSION_SECONDS;
    if (!first.every(isFresh)) await clock.sleep(LOOK_MS);
    const before = new Map(first.map((peer) => [peer.publicKey, peer]));
    return (first.every(isFresh) ? first : await readPeers(wireguard, links)).map((peer) => {
      const { publicKey, endpoint, sentBytes, receivedBytes } = peer;
      const earlier = before.get(publicKey);
      return {
        publicKey,
        address: endpoint?.address,
        handshakeAgeSeconds: ageOf(peer, clock),
        sentBytes,
        receivedBytes,
        isSending: earlier !== undefined && sentBytes > earlier.sentBytes,
        isReceiving: earlier !== undefined && receivedBytes > earlier.receivedBytes,
      };
    });
  } finally {
    wireguard.close();
  }
}

async function readPeers(wireguard: Wireguard, links: readonly string[]): Promise<WireguardPeerState[]> {
  const devices = await Promise.all(
    links.map((name) =>
      wireguard.getDevice(name).catch((error) => {
        // Deleted a moment ago.
        if (!isNetlinkError(error, 'ENODEV')) throw error;
        return { peers: [] };
      }),
    ),
  );
  return devices.flatMap(({ peers }) => peers);
}

function ageOf({ lastHandshakeSeconds }: WireguardPeerState, clock: Clock): number | undefined {
  return lastHandshakeSeconds === 0 ? undefined : Math.max(0, Math.floor(clock.nowMs() / 1000) - lastHandshakeSeconds);
}

/**
 * Peers to which something is sent and with which there is no session. Pure. A first message that asks for a session is understood with the
 * public keys alone, and counted; the answer needs the preshared key too: who hears and gets no session has another one. Who only asks hears
 * nothing in that case: the other node's doctor tells.
 */
export function judgeWireguard(traffic: readonly WireguardTraffic[] | undefined, peers: readonly Peer[]): Finding[] {
  const check = 'WireGuard sessions';
  if (!traffic || traffic.length === 0) return [];
  const nameOf = ({ publicKey, address }: WireguardTraffic) =>
    peers.find(({ backendData }) => hasKey(backendData, publicKey))?.node ?? address ?? publicKey;
  const without = traffic.filter(
    ({ handshakeAgeSeconds: age, sentBytes, isSending }) =>
      (age === undefined && sentBytes > 0) || (age !== undefined && age > SESSION_SECONDS && isSending),
  );
  if (without.length === 0) {
    const inUse = traffic.filter(({ handshakeAgeSeconds: age }) => age !== undefined && age <= SESSION_SECONDS).length;
    return [{ check, state: 'ok', detail: `${inUse} of ${traffic.length} in use, the others have nothing to send` }];
  }
  const list = (some: readonly WireguardTraffic[]) =>
    some
      .slice(0, 3)
      .map((one) =>
        one.handshakeAgeSeconds === undefined
          ? `${nameOf(one)} (never)`
          : `${nameOf(one)} (since ${Math.floor(one.handshakeAgeSeconds / 60)} min)`,
      )
      .join(', ') + (some.length > 3 ? ` and ${some.length - 3} more` : '');
  const isHeard = ({ handshakeAgeSeconds: age, receivedBytes, isReceiving }: WireguardTraffic) =>
    age === undefined ? receivedBytes > 0 : isReceiving;
  const heard = without.filter(isHeard);
  const silent = without.filter((one) => !isHeard(one));
  return [
    ...(heard.length === 0
      ? []
      : [
          {
            check,
            state: 'problem',
            detail: `${list(heard)}: its packets arrive, and no session comes of it: another preshared key`,
            remedy:
              'Backend.PSK must be the same on all nodes: give them one net-conf.json, and start their overlays again',
          } as const,
        ]),
    ...(silent.length === 0
      ? []
      : [
          {
            check,
            state: 'problem',
            detail: `${list(silent)}: packets are sent, and no answer comes`,
            remedy:
              'UDP 51820 (IPv6: 51821; Backend.ListenPort) must be open between the nodes; or the keys differ: then the doctor on the other node says so, or its key is not the one of its annotation (start its overlay again)',
          } as const,
        ]),
  ];
}

function hasKey(data: Peer['backendData'], publicKey: string): boolean {
  return Object.values(data).some((one) => (one as { PublicKey?: unknown } | null)?.PublicKey === publicKey);
}

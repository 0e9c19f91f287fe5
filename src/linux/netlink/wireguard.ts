import { NLM_F_DUMP } from './constants.ts';
import { findGenericFamily, genericHeader, NETLINK_GENERIC } from './generic.ts';
import { openNetlinkSocket } from './socket.ts';
import {
  decodeWireguardDevice,
  encodeDeviceName,
  encodeWireguardChange,
  WG_CMD_GET_DEVICE,
  WG_CMD_SET_DEVICE,
  type WireguardChange,
  type WireguardDevice,
} from './wireguard-messages.ts';

/** WireGuard devices of one network namespace; links of kind `wireguard` are made by Rtnetlink. All throw NetlinkError. */
export interface Wireguard {
  /** ENODEV when there is no such link, EOPNOTSUPP when it is no WireGuard device. */
  getDevice(name: string): Promise<WireguardDevice>;
  /** Peers in pieces that fit into a message; what comes first is there when a later piece fails. EADDRINUSE for a port that is taken (of a link that is up). */
  setDevice(name: string, change: WireguardChange): Promise<void>;
  close(): void;
}

/** Some 220 bytes a peer with two allowed networks; the socket takes messages of 4 KiB. */
const PEERS_IN_A_MESSAGE = 16;

/** undefined when the kernel has no WireGuard, built in or as a module that it can load. */
export async function openWireguard(netns?: string): Promise<Wireguard | undefined> {
  const socket = openNetlinkSocket(NETLINK_GENERIC, netns);
  const type = await findGenericFamily(socket, 'wireguard').catch((error: unknown) => {
    socket.close();
    throw error;
  });
  if (type === undefined) {
    socket.close();
    return undefined;
  }
  const send = async (name: string, change: WireguardChange) => {
    await socket.request({
      operation: `set WireGuard device ${name}`,
      type,
      body: [genericHeader(WG_CMD_SET_DEVICE), ...encodeWireguardChange(name, change).flat()],
    });
  };
  return {
    async getDevice(name) {
      const bodies = await socket.request({
        operation: `get WireGuard device ${name}`,
        type,
        flags: NLM_F_DUMP,
        body: [genericHeader(WG_CMD_GET_DEVICE), ...encodeDeviceName(name)],
      });
      return decodeWireguardDevice(bodies);
    },
    async setDevice(name, { put = [], remove = [], ...rest }) {
      const pieces = Math.max(1, Math.ceil(Math.max(put.length, remove.length) / PEERS_IN_A_MESSAGE));
      for (let piece = 0; piece < pieces; piece++) {
        const part = <T>(list: readonly T[]) =>
          list.slice(piece * PEERS_IN_A_MESSAGE, (piece + 1) * PEERS_IN_A_MESSAGE);
        await send(name, { ...(piece === 0 ? rest : {}), put: part(put), remove: part(remove) });
      }
    },
    close: () => socket.close(),
  };
}

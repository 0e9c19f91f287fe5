import { type WebSocket, WebSocketServer } from 'ws';
import type { UpgradeRequest } from './upgrade.ts';

/** The longest message of a client. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
/** A client that pings without fetching the answers gets no more of them; only the newest ping needs one (RFC 6455, 5.5.2). */
const MAX_UNFETCHED_PONG_BYTES = 64 * 1024;

/** Accepts WebSockets of the first of these subprotocols that a client offers. */
export interface WebSocketAcceptor {
  /** @returns undefined when the client was refused, or has left */
  accept(upgrade: UpgradeRequest): Promise<WebSocket | undefined>;
}

/** @param protocols the best one first */
export function createWebSocketAcceptor(protocols: readonly string[]): WebSocketAcceptor {
  const server = new WebSocketServer({
    noServer: true,
    maxPayload: MAX_MESSAGE_BYTES,
    perMessageDeflate: false,
    autoPong: false,
    handleProtocols: (offered) => protocols.find((known) => offered.has(known)) ?? false,
  });
  return {
    async accept({ request, socket, head }) {
      // One that has closed already tells nobody again.
      if (socket.destroyed) return undefined;
      const webSocket = await new Promise<WebSocket | undefined>((resolve) => {
        socket.once('close', () => resolve(undefined));
        server.handleUpgrade(request, socket, head, resolve);
      });
      webSocket?.on('ping', (data) => {
        if (webSocket.bufferedAmount < MAX_UNFETCHED_PONG_BYTES) webSocket.pong(data);
      });
      return webSocket;
    },
  };
}

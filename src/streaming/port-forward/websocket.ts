import { Duplex } from 'node:stream';
import { createWebSocketStream, type WebSocket } from 'ws';
import { listHeader, refuseUpgrade, type UpgradeRequest } from '../upgrade.ts';
import { createWebSocketAcceptor } from '../websocket.ts';
import { type ConnectPort, forward, parsePort } from './forward.ts';
import { forwardPairs, PORT_FORWARD_PROTOCOL, type PortForwardOptions } from './spdy.ts';

/** SPDY inside a WebSocket: newer kubectls. */
const TUNNEL = `SPDY/3.1+${PORT_FORWARD_PROTOCOL}`;
/** Ports in the query; two channels each. Browsers and older clients. */
const CHANNELS = 'v4.channel.k8s.io';
const BASE64_CHANNELS = 'v4.base64.channel.k8s.io';
const PROTOCOLS = [TUNNEL, CHANNELS, BASE64_CHANNELS];

const acceptor = createWebSocketAcceptor(PROTOCOLS);

/** Accepts port-forward over a WebSocket and serves until the client leaves. `ports` are those of the query. */
export async function servePortForwardOverWebSocket(
  upgrade: UpgradeRequest,
  ports: readonly string[],
  options: PortForwardOptions,
): Promise<void> {
  const { request, socket } = upgrade;
  const refuse = (text: string) => refuseUpgrade(socket, 400, 'Bad Request', `${text}\n`);
  const offered = listHeader(request, 'sec-websocket-protocol');
  const protocol = offered.length === 0 ? CHANNELS : PROTOCOLS.find((known) => offered.includes(known));
  if (!protocol)
    return refuse(`none of the subprotocols ${offered.join(', ')} is supported, but ${PROTOCOLS.join(', ')}`);
  const numbers = ports.flatMap((text) => text.split(',')).map(parsePort);
  if (protocol !== TUNNEL && (numbers.length === 0 || numbers.includes(undefined)))
    return refuse('query parameter "port" is required, and must be a port number each time');
  const webSocket = await acceptor.accept(upgrade);
  if (!webSocket) return;
  if (protocol === TUNNEL) await forwardPairs(createWebSocketStream(webSocket), options);
  else await forwardChannels(webSocket, numbers as number[], protocol === BASE64_CHANNELS, options);
}

/** Port i has channel 2i for data and 2i+1 for an error; each begins with the port number, little endian. */
async function forwardChannels(
  webSocket: WebSocket,
  ports: readonly number[],
  isBase64: boolean,
  { connect, idleTimeoutMs }: PortForwardOptions,
): Promise<void> {
  const idle = setTimeout(() => webSocket.terminate(), idleTimeoutMs);
  const send = (channel: number, data: Buffer, done: (error?: Error | null) => void = () => {}) => {
    idle.refresh();
    webSocket.send(
      isBase64 ? `${channel}${data.toString('base64')}` : Buffer.concat([Buffer.from([channel]), data]),
      done,
    );
  };
  /** Ports whose connections do not read: while there is one, nothing is read of the client. */
  const blocked = new Set<number>();
  const unblock = (index: number) => {
    if (blocked.delete(index) && blocked.size === 0) webSocket.resume();
  };
  const clients = ports.map((port, index) => {
    const client = new Duplex({
      read: () => unblock(index),
      write: (chunk: Buffer, _, done) => send(2 * index, chunk, done),
    })
      .on('error', () => {})
      .on('close', () => unblock(index));
    const number = Buffer.alloc(2);
    number.writeUInt16LE(port);
    for (const channel of [2 * index, 2 * index + 1]) send(channel, number);
    forwardOne(client, port, connect).then((problem) => problem && send(2 * index + 1, Buffer.from(problem)));
    return client;
  });
  webSocket.on('message', (message: Buffer, isBinary) => {
    idle.refresh();
    const channel = isBinary ? (message[0] ?? 0) : (message[0] ?? 0) - 0x30;
    const data = isBinary ? message.subarray(1) : Buffer.from(message.toString('latin1', 1), 'base64');
    const client = channel % 2 === 0 ? clients[channel / 2] : undefined;
    if (!client || client.destroyed || client.push(data)) return;
    blocked.add(channel / 2);
    webSocket.pause();
  });
  webSocket.on('error', () => {});
  await new Promise<void>((resolve) => webSocket.on('close', () => resolve()));
  clearTimeout(idle);
  for (const client of clients) client.destroy();
}

/** @returns what went wrong, in words */
function forwardOne(client: Duplex, port: number, connect: ConnectPort): Promise<string | undefined> {
  return forward(client, port, connect).then(
    () => undefined,
    (problem: Error) => `an error occurred forwarding port ${port}: ${problem.message}`,
  );
}

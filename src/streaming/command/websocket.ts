import { PassThrough, Writable } from 'node:stream';
import type { WebSocket } from 'ws';
import { listHeader, refuseUpgrade, type UpgradeRequest } from '../upgrade.ts';
import { createWebSocketAcceptor } from '../websocket.ts';
import { type CommandRequest, type CommandStreams, createResizes } from './streams.ts';

/** The first byte of each message says what it belongs to. */
const CHANNEL = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4 } as const;
/** v5: the next byte is a channel whose sender is done. */
const CLOSE_CHANNEL = 255;
/** Newest first. The base64 ones send text: the channel as a digit, then base64. */
const PROTOCOLS = [
  'v5.channel.k8s.io',
  'v4.channel.k8s.io',
  'v4.base64.channel.k8s.io',
  'channel.k8s.io',
  'base64.channel.k8s.io',
];
/** Written ahead of the network; then the command waits. */
const SEND_BUFFER_BYTES = 256 * 1024;
const FAREWELL_MS = 10_000;

const acceptor = createWebSocketAcceptor(PROTOCOLS);

/**
 * Accepts exec or attach over a WebSocket, as newer kubectls and browsers ask for it.
 * @returns undefined when the client was refused
 */
export async function acceptWebSocketCommand(
  upgrade: UpgradeRequest,
  wanted: CommandRequest,
  { idleTimeoutMs }: { idleTimeoutMs: number },
): Promise<CommandStreams | undefined> {
  const { request, socket } = upgrade;
  const offered = listHeader(request, 'sec-websocket-protocol');
  if (offered.length > 0 && !offered.some((one) => PROTOCOLS.includes(one))) {
    refuseUpgrade(
      socket,
      400,
      'Bad Request',
      `none of the subprotocols ${offered.join(', ')} is supported, but ${PROTOCOLS.join(', ')}\n`,
    );
    return undefined;
  }
  const webSocket = await acceptor.accept(upgrade);
  return webSocket && commandOver(webSocket, wanted, idleTimeoutMs);
}

function commandOver(webSocket: WebSocket, wanted: CommandRequest, idleTimeoutMs: number): CommandStreams {
  const { protocol } = webSocket;
  const isBase64 = protocol.includes('base64');
  const knowsStatus = protocol.startsWith('v');
  const gone = new AbortController();
  const resizes = createResizes();
  const stdin = wanted.stdin ? new PassThrough() : undefined;
  let idle = setTimeout(() => webSocket.terminate(), idleTimeoutMs);
  const touch = () => void idle.refresh();

  /** Resolves when the network has taken it, or there is nobody left to take it. */
  function send(channel: number, data: Buffer): Promise<void> {
    touch();
    const message = isBase64 ? `${channel}${data.toString('base64')}` : Buffer.concat([Buffer.from([channel]), data]);
    return new Promise((resolve, reject) => webSocket.send(message, (error) => (error ? reject(error) : resolve())));
  }
  const output = (channel: number) =>
    new Writable({
      highWaterMark: SEND_BUFFER_BYTES,
      write: (chunk: Buffer, _, done) => void send(channel, chunk).then(() => done(), done),
    }).on('error', () => {});
  const stdout = wanted.stdout ? output(CHANNEL.stdout) : undefined;
  const stderr = wanted.stderr ? output(CHANNEL.stderr) : undefined;

  webSocket.on('message', (message: Buffer, isBinary) => {
    touch();
    const channel = isBinary ? message[0] : (message[0] ?? 0) - 0x30;
    const data = isBinary ? message.subarray(1) : Buffer.from(message.toString('latin1', 1), 'base64');
    if (channel === CHANNEL.stdin && stdin) {
      // The command reads slowly: so do we.
      if (!stdin.writableEnded && !stdin.write(data)) {
        webSocket.pause();
        stdin.once('drain', () => webSocket.resume());
      }
    } else if (channel === CHANNEL.resize) resizes.push(data.toString());
    else if (channel === CLOSE_CHANNEL && data[0] === CHANNEL.stdin) stdin?.end();
  });
  webSocket.on('error', () => {});
  webSocket.on('close', () => {
    clearTimeout(idle);
    stdin?.end();
    gone.abort(new Error('the client is gone'));
  });
  // The connection stands: clients of this protocol wait for a first word.
  const first = stdout ? CHANNEL.stdout : stderr ? CHANNEL.stderr : CHANNEL.error;
  send(first, Buffer.alloc(0)).catch(() => {});

  return {
    ...(stdin && { stdin }),
    ...(stdout && { stdout }),
    ...(stderr && { stderr }),
    onResize: resizes.onResize,
    gone: gone.signal,
    async finish(status) {
      const isFailure = status.status !== 'Success';
      const text = knowsStatus ? JSON.stringify(status) : isFailure ? (status.message ?? '') : '';
      if (webSocket.readyState !== webSocket.OPEN) return;
      await Promise.all([stdout, stderr].map((stream) => stream && written(stream))).catch(() => {});
      if (text !== '') await send(CHANNEL.error, Buffer.from(text)).catch(() => {});
      clearTimeout(idle);
      idle = setTimeout(() => webSocket.terminate(), FAREWELL_MS);
      webSocket.close(1000);
    },
  };
}

function written(stream: Writable): Promise<void> {
  return new Promise((resolve) => {
    stream.once('close', resolve);
    stream.end(() => resolve());
  });
}

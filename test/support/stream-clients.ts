import { randomBytes } from 'node:crypto';
import { dataHead, FRAME, goAway, ping, rstStream, synStream } from '../../src/streaming/spdy/frames.ts';
import { createHeaderWriter } from '../../src/streaming/spdy/headers.ts';

/** What a client of a stream sends from its first byte to its last, in the pieces that it makes of it: the request, then frames. */
export interface Recording {
  name: string;
  pieces: Buffer[];
}

function head(path: string, headers: Record<string, string>): Buffer {
  const lines = Object.entries({ Host: 'node', Connection: 'Upgrade', ...headers }).map(([k, v]) => `${k}: ${v}\r\n`);
  return Buffer.from(`POST ${path} HTTP/1.1\r\n${lines.join('')}\r\n`);
}
const spdyHead = (path: string, protocol: string) =>
  head(path, { Upgrade: 'SPDY/3.1', 'X-Stream-Protocol-Version': protocol });
const webSocketHead = (path: string, protocol: string) =>
  Buffer.from(
    head(path, {
      Upgrade: 'websocket',
      'Sec-WebSocket-Version': '13',
      'Sec-WebSocket-Key': 'AAAAAAAAAAAAAAAAAAAAAA==',
      'Sec-WebSocket-Protocol': protocol,
    })
      .toString()
      .replace(/^POST/, 'GET'),
  );

const data = (streamId: number, text: string | Buffer, fin = false) =>
  Buffer.concat([dataHead(streamId, text.length, fin), Buffer.from(text as string)]);

/** A WebSocket message of a client: masked, up to 64 KiB. */
export function webSocketFrame(opcode: number, payload: Buffer, fin = true): Buffer {
  const mask = randomBytes(4);
  const length = payload.length < 126 ? Buffer.from([0x80 | payload.length]) : Buffer.from([0x80 | 126, 0, 0]);
  if (length.length === 3) length.writeUInt16BE(payload.length, 1);
  const masked = Buffer.from(payload.map((byte, at) => byte ^ mask[at % 4]!));
  return Buffer.concat([Buffer.from([(fin ? 0x80 : 0) | opcode]), length, mask, masked]);
}
const binary = (bytes: Buffer) => webSocketFrame(2, bytes);
const channel = (number: number, text: string) => binary(Buffer.concat([Buffer.from([number]), Buffer.from(text)]));

/** Streams of exec over SPDY, in the order in which kubectl opens them. */
export function spdyExecFrames(): Buffer[] {
  const headers = createHeaderWriter();
  const open = (id: number, streamtype: string) => synStream(id, headers({ streamtype }));
  return [
    open(1, 'error'),
    open(3, 'stdin'),
    open(5, 'stdout'),
    open(7, 'resize'),
    data(7, '{"Width":80,"Height":24}'),
    data(3, 'hello\n'),
    ping(1),
    data(3, 'x'.repeat(3000)),
    data(7, '{"Width":81,"Height":24}'),
    rstStream(7, 5),
    data(3, 'end', true),
    goAway(0),
  ];
}

export function spdyForwardFrames(): Buffer[] {
  const headers = createHeaderWriter();
  const open = (id: number, streamtype: string, requestid: string, port = '80') =>
    synStream(id, headers({ streamtype, port, requestid }));
  return [
    open(1, 'error', '0'),
    open(3, 'data', '0'),
    data(3, 'ping'),
    open(5, 'error', '1', '81'),
    open(7, 'data', '1', '81'),
    data(3, 'y'.repeat(2000)),
    open(9, 'error', '2'),
    rstStream(9, FRAME.rstStream),
    data(3, 'end', true),
    data(1, '', true),
    goAway(0),
  ];
}

const EXEC = '/exec/default/web/app?command=cat&input=1&output=1&tty=1';

/** Every protocol that a node speaks. */
export function recordings(): Recording[] {
  const tunnel = spdyForwardFrames().map(binary);
  return [
    { name: 'SPDY exec', pieces: [spdyHead(EXEC, 'v4.channel.k8s.io'), ...spdyExecFrames()] },
    {
      name: 'SPDY port-forward',
      pieces: [spdyHead('/portForward/default/web', 'portforward.k8s.io'), ...spdyForwardFrames()],
    },
    {
      name: 'WebSocket exec',
      pieces: [
        webSocketHead(EXEC, 'v5.channel.k8s.io'),
        channel(4, '{"Width":80,"Height":24}'),
        channel(0, 'hello\n'),
        webSocketFrame(9, Buffer.from('are you there')),
        channel(0, 'x'.repeat(3000)),
        webSocketFrame(2, Buffer.from('\0in '), false),
        webSocketFrame(0, Buffer.from('two pieces')),
        binary(Buffer.from([255, 0])),
        webSocketFrame(8, Buffer.from([0x03, 0xe8])),
      ],
    },
    {
      name: 'WebSocket port-forward',
      pieces: [
        webSocketHead('/portForward/default/web?port=80&port=81', 'v4.channel.k8s.io'),
        channel(0, 'ping'),
        channel(2, 'nobody there'),
        channel(0, 'y'.repeat(2000)),
        webSocketFrame(8, Buffer.alloc(0)),
      ],
    },
    {
      name: 'SPDY in a WebSocket',
      pieces: [webSocketHead('/portForward/default/web', 'SPDY/3.1+portforward.k8s.io'), ...tunnel],
    },
  ];
}

import type { Duplex } from 'node:stream';
import {
  createFrameReader,
  dataHead,
  FLAG_FIN,
  FRAME,
  type Frame,
  goAway,
  ping,
  RST_STATUS,
  rstStream,
  synReply,
  synStream,
} from './frames.ts';
import { createHeaderReader, createHeaderWriter, type SpdyHeaders, SpdyProtocolError } from './headers.ts';
import { SpdyStream, type StreamPort } from './stream.ts';

export interface SpdyConnectionOptions {
  /** Who was asked for the upgrade is the server; the other one's streams have odd ids. */
  role: 'server' | 'client';
  /** A stream that the peer has opened; it has been accepted already. */
  onStream?(stream: SpdyStream): void;
  /** Open at once; further ones are refused. */
  maxStreams?: number;
  /** The connection ends when for so long nothing came and nothing went; never without it. */
  idleTimeoutMs?: number;
}

export interface SpdyConnection {
  open(headers: SpdyHeaders): SpdyStream;
  /** Says good-bye and ends the connection when all that was written is on its way. */
  close(): void;
  /** Settles when the connection is over, however that came; never rejects. */
  readonly closed: Promise<Error | undefined>;
}

const MAX_STREAMS = 1000;
/** Of answers that the peer does not fetch (to its pings, to streams that are refused); beyond it nothing more is read of it. */
const MAX_UNFETCHED_BYTES = 256 * 1024;

/**
 * SPDY/3.1 over an upgraded connection, as Kubernetes speaks it: between kube-apiserver or kubectl and a node, for exec, attach and
 * port-forward. Kubernetes' library (moby/spdystream) has no flow control: it sends no WINDOW_UPDATE and heeds none, so that back-pressure
 * is the connection's own. We do the same: a reader that falls behind by more than its stream's buffer stops the connection.
 *
 * @param socket after the upgrade's 101 was sent or read; `head` is what came behind it
 */
export function createSpdyConnection(
  socket: Duplex,
  options: SpdyConnectionOptions,
  head: Buffer = Buffer.alloc(0),
): SpdyConnection {
  const streams = new Map<number, SpdyStream>();
  const writeHeaders = createHeaderWriter();
  const headerReader = createHeaderReader();
  const readFrames = createFrameReader();
  const over = Promise.withResolvers<Error | undefined>();
  const ids = options.role === 'server' ? { own: 2, peer: 1 } : { own: 1, peer: 0 };
  let nextId = ids.own;
  let lastPeerId = 0;
  let isOver = false;
  let idleTimer: NodeJS.Timeout | undefined;
  let wakeWriters: (() => void)[] = [];
  /** The reader waits until this stream has room: what another one reads does not help. */
  let blocked: { streamId: number; wake: () => void } | undefined;

  function touch(): void {
    if (options.idleTimeoutMs === undefined) return;
    if (idleTimer) idleTimer.refresh();
    else idleTimer = setTimeout(() => finish(new Error('the stream was idle for too long')), options.idleTimeoutMs);
  }

  function finish(error: Error | undefined): void {
    if (isOver) return;
    isOver = true;
    clearTimeout(idleTimer);
    headerReader.close();
    for (const stream of [...streams.values()]) stream.abort(error);
    streams.clear();
    for (const wake of wakeWriters) wake();
    blocked?.wake();
    socket.destroy();
    over.resolve(error);
  }

  function write(...parts: Buffer[]): boolean {
    if (isOver || socket.destroyed) return true;
    touch();
    socket.cork();
    let hasRoom = true;
    for (const part of parts) if (part.length > 0) hasRoom = socket.write(part);
    socket.uncork();
    return hasRoom;
  }

  const port: StreamPort = {
    async send(streamId, payload, fin) {
      if (isOver) throw new Error('the connection is closed');
      if (write(dataHead(streamId, payload.length, fin), payload)) return;
      await new Promise<void>((resolve) => wakeWriters.push(resolve));
      if (isOver) throw new Error('the connection is closed');
    },
    reset: (streamId) => void write(rstStream(streamId, RST_STATUS.cancel)),
    wantsMore(streamId) {
      if (blocked?.streamId !== streamId) return;
      blocked.wake();
      blocked = undefined;
    },
    closed: (streamId) => void streams.delete(streamId),
  };

  function addStream(id: number, headers: SpdyHeaders): SpdyStream {
    const stream = new SpdyStream(id, headers, port);
    streams.set(id, stream);
    return stream;
  }

  async function onControl({ type, flags, payload }: Frame & { kind: 'control' }): Promise<void> {
    const streamId = payload.length >= 4 ? payload.readUInt32BE(0) & 0x7fffffff : 0;
    const fin = (flags & FLAG_FIN) !== 0;
    switch (type) {
      case FRAME.synStream: {
        const headers = await headerReader.read(payload.subarray(10));
        if (streamId % 2 !== ids.peer || streamId <= lastPeerId)
          throw new SpdyProtocolError(`stream ${streamId} cannot follow ${lastPeerId}`);
        lastPeerId = streamId;
        if (!options.onStream || streams.size >= (options.maxStreams ?? MAX_STREAMS)) {
          write(rstStream(streamId, RST_STATUS.refusedStream));
          return;
        }
        const stream = addStream(streamId, headers);
        write(synReply(streamId, writeHeaders({})));
        if (fin) stream.receive(Buffer.alloc(0), true);
        options.onStream(stream);
        return;
      }
      case FRAME.synReply:
      case FRAME.headers:
        await headerReader.read(payload.subarray(4));
        if (fin) streams.get(streamId)?.receive(Buffer.alloc(0), true);
        return;
      case FRAME.rstStream:
        streams.get(streamId)?.abort(Object.assign(new Error('the peer reset the stream'), { code: 'ECONNRESET' }));
        return;
      case FRAME.ping:
        // Ours have the parity of our streams; we send none.
        if (streamId % 2 === ids.peer) write(ping(streamId));
        return;
      default:
      // GOAWAY is followed by the end of the connection; settings and windows say nothing to us.
    }
  }

  async function read(): Promise<void> {
    const take = async (chunk: Buffer) => {
      touch();
      for (const frame of readFrames(chunk)) {
        if (isOver) return;
        if (frame.kind === 'control') {
          await onControl(frame);
          if (!isOver && socket.writableLength > MAX_UNFETCHED_BYTES)
            await new Promise<void>((resolve) => wakeWriters.push(resolve));
        } else if (streams.get(frame.streamId)?.receive(frame.payload, frame.fin) === false)
          await new Promise<void>((wake) => {
            blocked = { streamId: frame.streamId, wake };
          });
      }
    };
    if (head.length > 0) await take(head);
    for await (const chunk of socket) await take(chunk as Buffer);
  }

  socket.on('drain', () => {
    const waiting = wakeWriters;
    wakeWriters = [];
    for (const wake of waiting) wake();
  });
  socket.on('error', () => {});
  // Who leaves while the reader waits, for room or for answers to be fetched, is not noticed by reading. A reader that runs says why it ended first.
  socket.once('close', () => setImmediate(finish, undefined));
  touch();
  read().then(
    () => finish(undefined),
    (error: Error) => finish(error),
  );

  return {
    open(headers) {
      const id = nextId;
      nextId += 2;
      const stream = addStream(id, headers);
      write(synStream(id, writeHeaders(headers)));
      return stream;
    },
    close() {
      if (isOver) return;
      write(goAway(lastPeerId));
      socket.end(() => finish(undefined));
    },
    closed: over.promise,
  };
}

import { connect, createServer, type Socket } from 'node:net';

/** A TCP link to a port of this machine that can get stuck. */
export interface SlowLink {
  port: number;
  /** After so many bytes more from the other side nothing comes any more, without an end. */
  stallAfter(bytes: number): void;
  flow(): void;
  /** Connections that are open now. */
  open(): number;
  close(): Promise<void>;
}

export async function openSlowLink(targetPort: number): Promise<SlowLink> {
  const pairs = new Set<{ near: Socket; far: Socket }>();
  let left = Number.POSITIVE_INFINITY;
  const server = createServer((near) => {
    const far = connect(targetPort, '127.0.0.1');
    const pair = { near, far };
    pairs.add(pair);
    near.pipe(far);
    far.on('data', (chunk) => {
      const part = chunk.subarray(0, Math.max(0, left));
      left -= chunk.length;
      if (part.length > 0) near.write(part);
      if (left <= 0) far.pause();
    });
    const end = () => {
      pairs.delete(pair);
      near.destroy();
      far.destroy();
    };
    for (const socket of [near, far]) socket.on('close', end).on('error', end);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as { port: number }).port,
    stallAfter(bytes) {
      left = bytes;
    },
    flow() {
      left = Number.POSITIVE_INFINITY;
      for (const { far } of pairs) far.resume();
    },
    open: () => pairs.size,
    async close() {
      for (const { near } of pairs) near.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

import { connect, createServer, type Socket } from 'node:net';
import { resetSocket } from '../../src/runtime/reset-socket.ts';

/**
 * How a link between a client and a server misbehaves.
 * - `flow`: it does not
 * - `refuse`: connections end as soon as they come, those that are there too
 * - `silence`: nothing comes through any more, and nobody is told; connections that are open then stay silent for good, as behind a router
 *   that has lost its table
 */
export type LinkMode = 'flow' | 'refuse' | 'silence';

/** A TCP link to a server of this machine at whose bytes a test can tear. */
export interface ChaosLink {
  readonly port: number;
  set(mode: LinkMode): void;
  /** From now on new connections go there. */
  retarget(port: number): void;
  /** Every connection that is open ends, at once and by a reset. */
  reset(): void;
  /** Every connection that is open ends after so many bytes more from the server, in the middle of whatever they are. */
  cutAfter(bytes: number): void;
  /** Connections that are open now. */
  open(): number;
  /** Connections that came so far. */
  accepted(): number;
  close(): Promise<void>;
}

interface Pair {
  near: Socket;
  far: Socket;
  isMute: boolean;
  left: number;
}

export async function openChaosLink(targetPort: number): Promise<ChaosLink> {
  let mode: LinkMode = 'flow';
  let target = targetPort;
  let accepted = 0;
  const pairs = new Set<Pair>();

  const server = createServer((near) => {
    accepted++;
    near.on('error', () => {});
    if (mode === 'refuse') {
      resetSocket(near);
      return;
    }
    const far = connect(target, '127.0.0.1').on('error', () => {});
    const pair: Pair = { near, far, isMute: mode === 'silence', left: Number.POSITIVE_INFINITY };
    pairs.add(pair);
    near.on('data', (chunk) => pair.isMute || far.write(chunk));
    far.on('data', (chunk) => {
      if (pair.isMute) return;
      near.write(chunk.subarray(0, pair.left));
      pair.left -= chunk.length;
      if (pair.left <= 0) near.destroySoon();
    });
    const end = () => {
      pairs.delete(pair);
      near.destroy();
      far.destroy();
    };
    near.on('close', end);
    far.on('close', () => !pair.isMute && end());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const link: ChaosLink = {
    port: (server.address() as { port: number }).port,
    set(next) {
      mode = next;
      if (next === 'refuse') link.reset();
      if (next === 'silence') for (const pair of pairs) pair.isMute = true;
    },
    retarget(port) {
      target = port;
    },
    reset() {
      for (const { near } of pairs) resetSocket(near);
    },
    cutAfter(bytes) {
      for (const pair of pairs) pair.left = bytes;
    },
    open: () => pairs.size,
    accepted: () => accepted,
    async close() {
      for (const { near, far } of pairs) {
        near.destroy();
        far.destroy();
      }
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return link;
}

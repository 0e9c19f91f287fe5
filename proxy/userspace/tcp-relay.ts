import { type AddressInfo, createServer, type Socket } from 'node:net';
import { connectInNetns } from '../../src/linux/netns-connect.ts';
import { listenTcp } from '../../src/linux/netns-listen.ts';
import type { Clock } from '../../src/runtime/clock.ts';
import type { Logger } from '../../src/runtime/log.ts';
import { resetSocket } from '../../src/runtime/reset-socket.ts';
import type { Balancer } from './balancer.ts';

/** A socket of this process to which portals lead. */
export interface Relay {
  readonly port: number;
  /** Endpoints have changed. */
  endpointsChanged(): void;
  /** No new clients; TCP connections that stand live on until their ends close them, or until `endAll`. */
  close(): void;
  endAll(): void;
  /** Nobody is connected. */
  isIdle(): boolean;
}

export interface RelayOptions {
  /** Path of the network namespace; the process's own unless given. */
  netns?: string;
  /** Own address of the node that the relay listens on. */
  address: string;
  /** `ns/name:port`, for the log. */
  service: string;
  balancer: Balancer;
  clock: Clock;
  log: Logger;
}

/** How long each endpoint may take to accept; then the next one is tried (kube-proxy's userspace mode). */
const DIAL_TIMEOUTS_MS = [250, 500, 1000, 2000];
const KEEP_ALIVE_MS = 60_000;

/** Relays TCP connections to endpoints; both halves close one by one, a reset is handed on as one. */
export async function startTcpRelay(options: RelayOptions): Promise<Relay> {
  const { balancer, service, log } = options;
  const sockets = new Set<Socket>();
  // Nothing is read before there is somebody to read for: what a client sends early waits in the kernel.
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (client) => {
    void serve(client);
  });
  server.on('error', (error) => log.error({ service, err: error }, 'a relay cannot accept connections'));
  await new Promise<void>((resolve) => server.listen({ fd: listenTcp(options.netns, options.address, 0) }, resolve));

  async function serve(client: Socket): Promise<void> {
    keep(client);
    const endpoint = await dial(client.remoteAddress ?? '', client).catch(() => undefined);
    if (!endpoint || client.destroyed) {
      endpoint?.destroy();
      resetSocket(client);
      return;
    }
    keep(endpoint);
    join(client, endpoint);
    join(endpoint, client);
    client.resume();
    endpoint.resume();
  }

  async function dial(clientIp: string, client: Socket): Promise<Socket | undefined> {
    const refused = new Set<string>();
    for (const timeoutMs of DIAL_TIMEOUTS_MS) {
      const target = balancer.pick(clientIp, refused);
      if (!target || client.destroyed) return undefined;
      const deadline = new AbortController();
      const cancel = options.clock.after(timeoutMs, () => deadline.abort(new Error(`no answer in ${timeoutMs} ms`)));
      try {
        return await connectInNetns(options.netns, target.ip, target.port, deadline.signal);
      } catch (error) {
        log.debug({ service, endpoint: target.address, err: error }, 'an endpoint does not accept connections');
        refused.add(target.address);
      } finally {
        cancel();
      }
    }
    return undefined;
  }

  function keep(socket: Socket): void {
    sockets.add(socket);
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => {});
  }

  return {
    port: (server.address() as AddressInfo).port,
    endpointsChanged() {},
    close: () => void server.close(),
    endAll() {
      for (const socket of sockets) resetSocket(socket);
    },
    isIdle: () => sockets.size === 0,
  };
}

/** `pipe` hands on the end of a half; what it does not hand on is a break. */
function join(from: Socket, to: Socket): void {
  from.pipe(to);
  from.on('error', () => resetSocket(to));
  from.on('close', () => {
    // What was written still goes out; what comes in is nobody's any more, and may come for ever.
    if (to.writableEnded && !to.writableFinished) to.once('finish', () => to.destroy());
    else to.destroy();
  });
}

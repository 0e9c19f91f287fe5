import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { bindUdp } from '../../src/linux/netns-listen.ts';
import type { Target } from './balancer.ts';
import type { Relay, RelayOptions } from './tcp-relay.ts';

/** A client with more packets than this on their way to nobody is the exception: the oldest client makes room. */
const MAX_CLIENTS = 8192;

interface Client {
  target: Target;
  socket: Socket;
  lastMs: number;
}

/**
 * Relays datagrams. Each client gets a socket of its own towards its endpoint, so that answers find their way back; it is given up after
 * `idleMs` without a datagram in either direction.
 */
export async function startUdpRelay(options: RelayOptions & { idleMs: number }): Promise<Relay> {
  const { balancer, clock, idleMs, log, service } = options;
  const type = options.address.includes(':') ? 'udp6' : 'udp4';
  const anyAddress = type === 'udp6' ? '::' : '0.0.0.0';
  /** By `ip:port`, the one that spoke last at the end. */
  const clients = new Map<string, Client>();
  let isClosed = false;
  const server = await open(bindUdp(options.netns, options.address, 0));
  server.on('message', (data, from) => void fromClient(data, from));

  async function open(fd: number): Promise<Socket> {
    const socket = createSocket(type);
    socket.on('error', (error) => log.debug({ service, err: error }, 'a datagram could not be relayed'));
    await new Promise<void>((resolve) => socket.bind({ fd }, resolve));
    return socket;
  }

  async function fromClient(data: Buffer, from: RemoteInfo): Promise<void> {
    const key = `${from.address} ${from.port}`;
    const client = clients.get(key) ?? (await admit(key, from));
    // It may have made room for another meanwhile.
    if (!client || clients.get(key) !== client) return;
    touch(key, client);
    client.socket.send(data, client.target.port, client.target.ip);
  }

  async function admit(key: string, from: RemoteInfo): Promise<Client | undefined> {
    const target = balancer.pick(from.address);
    if (!target) return undefined;
    const socket = await open(bindUdp(options.netns, anyAddress, 0)).catch((error) => {
      log.warn({ service, err: error }, 'no socket for a client');
      return undefined;
    });
    if (!socket) return undefined;
    const raced = clients.get(key);
    if (raced || isClosed) {
      socket.close();
      return raced;
    }
    const client = { target, socket, lastMs: clock.monotonicMs() };
    clients.set(key, client);
    if (clients.size > MAX_CLIENTS) drop(clients.keys().next().value!);
    socket.on('message', (data, sender) => {
      // The socket is open to all; only the endpoint speaks for the service.
      if (sender.port !== target.port || !isSame(sender.address, target.ip)) return;
      touch(key, client);
      if (!isClosed) server.send(data, from.port, from.address);
    });
    return client;
  }

  function touch(key: string, client: Client): void {
    client.lastMs = clock.monotonicMs();
    if (!clients.delete(key)) return;
    clients.set(key, client);
  }

  function drop(key: string): void {
    clients.get(key)?.socket.close();
    clients.delete(key);
  }

  let cancelSweep = clock.after(idleMs, sweep);
  function sweep(): void {
    const nowMs = clock.monotonicMs();
    for (const [key, { lastMs }] of clients) {
      if (nowMs - lastMs < idleMs) break;
      drop(key);
    }
    if (!isClosed) cancelSweep = clock.after(idleMs, sweep);
  }

  function endAll(): void {
    for (const key of [...clients.keys()]) drop(key);
  }

  return {
    port: server.address().port,
    // A client that keeps its source port goes on with an endpoint that is there.
    endpointsChanged() {
      for (const [key, { target }] of clients) if (!balancer.has(target.address)) drop(key);
    },
    close() {
      if (isClosed) return;
      isClosed = true;
      cancelSweep();
      endAll();
      server.close();
    },
    endAll,
    isIdle: () => clients.size === 0,
  };
}

function isSame(a: string, b: string): boolean {
  return a === b || a.replace(/%.*/, '') === b;
}

import { once } from 'node:events';
import { closeSync } from 'node:fs';
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Message } from 'dbus-native';
import { parseBusAddress } from './address.ts';
import { DescriptorStream } from './descriptor-stream.ts';

export interface BusCall {
  destination: string;
  path: string;
  interface: string;
  member: string;
  /** Types of the body, such as `ssss`; absent without one. */
  signature?: string;
  body?: unknown[];
}

export interface BusReply {
  /** Variants come as their values, 64-bit integers as bigint. */
  body: unknown[];
  /** File descriptors, which are the caller's to close. Only of a bus that was opened with `descriptors`. */
  fds: number[];
}

export interface Bus {
  /** @throws Error with `dbusName` when the other side answers with one; also after 25 s without an answer. */
  call(call: BusCall, signal?: AbortSignal): Promise<BusReply>;
  /** Told the bodies of a signal from now on; resolves when the bus has taken the rule. */
  subscribe(
    source: Omit<BusCall, 'signature' | 'body' | 'destination'>,
    handler: (body: unknown[]) => void,
  ): Promise<void>;
  /** Resolves when the connection has ended, however that came; why, if it was not `close()`. */
  closed: Promise<Error | undefined>;
  close(): void;
}

const SIGNAL = 4;

/**
 * A connection to a message bus as its own client. The library is loaded with the first one.
 *
 * @param options.descriptors the connection can receive file descriptors, and occupies a thread of Node's pool for that: close it soon
 * @throws Error of the last address when none answers
 */
export async function openBus(address: string, options: { descriptors?: boolean } = {}): Promise<Bus> {
  const stream = await openStream(parseBusAddress(address), options.descriptors ?? false);
  const { createClient } = (await import('dbus-native')).default;
  // A bus on a UNIX socket knows by the socket who calls.
  const client = createClient({ stream, authMethods: ['EXTERNAL'] });
  const { connection } = client;
  const pending = new Set<number>();
  const received = new Map<number, number[]>();
  const handlers: ((message: Message) => void)[] = [];
  connection.on('message', (message: Message) => {
    if (message.fds && message.fds.length > 0) {
      const { replySerial } = message;
      if (replySerial !== undefined && pending.has(replySerial)) received.set(replySerial, message.fds);
      else for (const fd of message.fds) closeSync(fd);
    }
    if (message.type === SIGNAL) for (const handler of handlers) handler(message);
  });
  let failure: Error | undefined;
  connection.on('error', (error) => {
    failure ??= error;
    // Else who waits for an answer would wait for its whole time.
    stream.destroy();
  });
  const closed = new Promise<Error | undefined>((resolve) => {
    connection.on('close', (cause) => resolve(failure ?? cause));
  });

  return {
    async call(call, signal) {
      const message: Message = { ...call };
      const answer = new Promise<unknown[]>((resolve, reject) => {
        client.invoke(message, { ...(signal && { signal }) }, (error, ...body) =>
          error ? reject(error) : resolve(body),
        );
      });
      // Given by invoke().
      const serial = message.serial ?? 0;
      pending.add(serial);
      try {
        const body = await answer;
        return { body, fds: received.get(serial) ?? [] };
      } catch (error) {
        throw failure ?? error;
      } finally {
        pending.delete(serial);
        received.delete(serial);
      }
    },
    async subscribe(source, handler) {
      handlers.push((message) => {
        const { path, interface: from, member } = message;
        if (path === source.path && from === source.interface && member === source.member) handler(message.body ?? []);
      });
      await client.addMatch(
        `type='signal',path='${source.path}',interface='${source.interface}',member='${source.member}'`,
      );
    },
    closed,
    close() {
      connection.end();
      stream.destroy();
    },
  };
}

async function openStream(paths: readonly string[], descriptors: boolean): Promise<Duplex> {
  let failure: unknown;
  for (const path of paths)
    try {
      if (descriptors) return new DescriptorStream(path);
      const socket = connect(path);
      await once(socket, 'connect');
      return socket;
    } catch (error) {
      failure = error;
    }
  throw failure;
}

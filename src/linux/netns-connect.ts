import { Socket } from 'node:net';
import { ipFamily } from './ip.ts';
import { tcpSocket } from './libc.ts';
import { inNetns } from './netns.ts';

/**
 * A TCP connection made inside another network namespace. Only the socket is born there, for which the thread moves and comes back; a
 * socket keeps its namespace for life, so that connecting, which takes time, happens here.
 *
 * @param netnsPath such as `/proc/<pid>/ns/net`; the process's own namespace where undefined
 * @param address IPv4 or IPv6, as the namespace knows it: `127.0.0.1` is its own loopback
 * @throws what connect(2) says (`code` ECONNREFUSED, …), ENOENT when the namespace is gone
 */
export function connectInNetns(
  netnsPath: string | undefined,
  address: string,
  port: number,
  signal?: AbortSignal,
): Promise<Socket> {
  const fd = inNetns<number>(netnsPath, () => tcpSocket(ipFamily(address)));
  // Reading before it is connected would be an error, which manualStart avoids. Halves close by themselves.
  const socket = new Socket({ fd, allowHalfOpen: true, manualStart: true } as ConstructorParameters<typeof Socket>[0]);
  return new Promise((resolve, reject) => {
    const abort = () => socket.destroy(signal?.reason as Error);
    signal?.addEventListener('abort', abort, { once: true });
    const settle = () => signal?.removeEventListener('abort', abort);
    socket.once('error', (error) => {
      settle();
      reject(error);
    });
    socket.connect({ host: address, port }, () => {
      settle();
      socket.removeAllListeners('error');
      socket.setNoDelay(true);
      resolve(socket);
    });
    if (signal?.aborted) abort();
  });
}

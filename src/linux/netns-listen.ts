import { closeSync } from 'node:fs';
import { ipFamily, parseIp } from './ip.ts';
import { bindInternet, listen, tcpSocket, udpSocket } from './libc.ts';
import { inNetns } from './netns.ts';

const BACKLOG = 511;

/**
 * A listening TCP socket in another network namespace, or in our own: Node's own `listen` binds a tick later, when the thread is home again.
 * For `server.listen({ fd })`. Port 0 lets the kernel choose. @throws SyscallError (EADDRINUSE, EADDRNOTAVAIL, …)
 */
export function listenTcp(netns: string | undefined, address: string, port: number): number {
  return inNetns<number>(netns, () =>
    boundTo(tcpSocket(ipFamily(address)), address, port, (fd) => listen(fd, BACKLOG)),
  );
}

/** The same for UDP; for `socket.bind({ fd })`. */
export function bindUdp(netns: string | undefined, address: string, port: number): number {
  return inNetns<number>(netns, () => boundTo(udpSocket(ipFamily(address)), address, port));
}

function boundTo(fd: number, address: string, port: number, then?: (fd: number) => void): number {
  try {
    bindInternet(fd, parseIp(address), port);
    then?.(fd);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

import type { Socket } from 'node:net';

/**
 * Ends a connection by a reset, so that the other side takes it for a break and not for an end.
 * While the kernel is being told of an end of ours (`end()`), libuv refuses to reset (EINVAL), and Node.js then forgets the descriptor: the
 * connection would stay open for the life of the process, without 'close', and keep the process from exiting. Such a socket is reset right after.
 */
export function resetSocket(socket: Socket): void {
  const isEnding = socket.writableEnded && !socket.writableFinished && socket.writableLength === 0;
  if (!isEnding || socket.destroyed) socket.resetAndDestroy();
  else socket.once('finish', () => socket.resetAndDestroy());
}

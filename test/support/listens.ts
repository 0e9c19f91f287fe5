import { createConnection } from 'node:net';

/** Whether somebody listens on a Unix socket: a file alone says nothing, between bind(2) and listen(2) and after a crash. */
export function listens(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(path);
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

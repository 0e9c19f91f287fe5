import { connect } from 'node:net';

/** Sends PING in RESP, as redis-cli does, and returns the answer (`PONG`). */
export function pingRedis(host: string, port: number, timeoutMs = 5000): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, timeout: timeoutMs }, () => socket.write('*1\r\n$4\r\nPING\r\n'));
    socket.once('data', (data) => {
      socket.destroy();
      resolve(data.toString().trim().replace(/^\+/, ''));
    });
    socket.once('timeout', () =>
      socket.destroy(new Error(`redis on ${host}:${port} did not answer within ${timeoutMs} ms`)),
    );
    socket.once('error', reject);
  });
}

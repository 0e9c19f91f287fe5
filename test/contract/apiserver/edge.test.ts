import { connect } from 'node:tls';
import test from 'ava';
import { startTestControlPlane } from '../../support/control-plane.ts';

/** What is sent over HTTP/1.1 by an administrator, and the status that comes back. */
const REQUESTS: [line: string, status: number][] = [
  ['GET /version', 200],
  [`GET /version?${'x'.repeat(100_000)}`, 200],
  [`GET /version?${'x'.repeat(300_000)}`, 431],
  ['GET /api/v1/../../version', 404],
  ['GET /api/v1/namespaces/..%2f..%2fnodes', 404],
  ['GET /api/v1/namespaces/%zz/pods', 400],
  ['GET https://[', 404],
  ['OPTIONS *', 404],
  ['TRACE /version', 404],
  ['GET /api/v1/pods?limit=-1', 400],
  ['GET /api/v1/pods?watch=1&resourceVersion=zz', 400],
  ['ehlo', 400],
];

test('malformed requests to the embedded API server: a clear answer each', async (t) => {
  const server = await startTestControlPlane();
  t.teardown(() => server.stop());
  const { certPem: cert, keyPem: key } = await server.credentials('admin', ['system:masters']);
  const ask = (line: string) =>
    new Promise<string>((resolve) => {
      const socket = connect({
        port: server.port,
        host: '127.0.0.1',
        ca: server.caPem,
        cert,
        key,
        ALPNProtocols: ['http/1.1'],
      });
      let text = '';
      socket.on('secureConnect', () => socket.write(`${line} HTTP/1.1\r\nHost: apiserver\r\n\r\n`));
      socket.on('data', (chunk) => {
        text += chunk;
        socket.destroy();
      });
      socket.on('error', () => {});
      socket.once('close', () => resolve(text));
    });
  for (const [line, status] of REQUESTS)
    t.is(Number(/^HTTP\/1\.1 (\d+)/.exec(await ask(line))?.[1]), status, line.slice(0, 60));
});

import { once } from 'node:events';
import type { Server } from 'node:http';
import { createSecureServer } from 'node:http2';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type TLSSocket } from 'node:tls';
import test, { type ExecutionContext } from 'ava';
import { createCertificateAuthority, issueCertificate } from '../../../src/auth/authority.ts';
import { systemClock } from '../../../src/runtime/clock.ts';
import { answerClientErrors } from '../../../src/streaming/client-errors.ts';

const validity = { days: 1, nowMs: Date.now() };
const ca = await createCertificateAuthority({ commonName: 'ca', ...validity });
const { certPem: cert, keyPem: key } = await issueCertificate(ca, {
  commonName: 'server',
  ipAddresses: ['127.0.0.1'],
  usages: ['server'],
  ...validity,
});

const SERVERS: Record<string, () => Server> = {
  https: () => createServer({ cert, key }),
  'http2 that allows HTTP/1': () => createSecureServer({ cert, key, allowHTTP1: true }) as unknown as Server,
};

async function scene(t: ExecutionContext, server: Server): Promise<TLSSocket> {
  answerClientErrors(server, systemClock);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const socket = connect({ port, host: '127.0.0.1', ca: ca.certPem, ALPNProtocols: ['http/1.1'] });
  t.teardown(() => {
    socket.destroy();
    server.close();
  });
  await once(socket, 'secureConnect');
  return socket;
}

/** All that comes until the end, or until the connection breaks. */
async function readAll(socket: TLSSocket): Promise<string> {
  let text = '';
  try {
    for await (const chunk of socket) text += chunk;
  } catch {}
  return text;
}

for (const [kind, create] of Object.entries(SERVERS)) {
  test(`${kind}: who sends a header of megabytes and reads late still learns why`, async (t) => {
    const server = create();
    let reported = 0;
    server.on('clientError', () => reported++);
    const socket = await scene(t, server);
    socket.on('error', () => {});
    socket.write(`GET / HTTP/1.1\r\nHost: server\r\nA: ${'x'.repeat(4 * 1024 * 1024)}\r\n\r\n`);
    while (reported === 0) await sleep(5);
    await sleep(100);
    t.regex(await readAll(socket), /^HTTP\/1\.1 431 [\s\S]*Connection: close\r\n\r\n$/);
    t.is(reported, 1, 'each further piece of the header would be an error of its own');
  });

  test(`${kind}: what is no HTTP gets 400 and the end`, async (t) => {
    const socket = await scene(t, create());
    socket.write('ehlo server\r\n\r\n');
    t.regex(await readAll(socket), /^HTTP\/1\.1 400 Bad Request\r\n/);
  });

  test(`${kind}: nothing is written into the middle of an answer`, async (t) => {
    const server = create();
    server.on('request', (_, response) => {
      response.writeHead(200, { 'content-length': '100' });
      response.write('the beginning');
    });
    const socket = await scene(t, server);
    socket.write('GET / HTTP/1.1\r\nHost: server\r\n\r\n');
    const [head] = (await once(socket, 'data')) as [Buffer];
    socket.write('ehlo server\r\n\r\n');
    const answer = `${head}${await readAll(socket)}`;
    t.regex(answer, /^HTTP\/1\.1 200 /);
    t.regex(answer, /the beginning$/);
  });
}

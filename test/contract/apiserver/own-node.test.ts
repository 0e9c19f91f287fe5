/** API server and agent of one process: the same requests over memory as over TLS, by the identity that the process vouches for. */
import { createServer } from 'node:http';
import type { Duplex } from 'node:stream';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import test from 'ava';
import { createOwnNode } from '../../../cli/roots/own-node.ts';
import { createNodeConnection } from '../../../control-plane/apiserver/nodes/node-connection.ts';
import { createCertificateAuthority, issueCertificate } from '../../../src/auth/authority.ts';
import type { UserInfo } from '../../../src/auth/user.ts';
import type { Node } from '../../../src/kube/types.ts';

const ORIGIN = 'https://127.0.0.5:10250';

const nodes: Record<string, Node> = {
  own: nodeAt('127.0.0.5'),
  // Took over the name, or never had it: another address is another agent.
  moved: nodeAt('127.0.0.6'),
};

function nodeAt(address: string): Node {
  return {
    metadata: { name: 'n', uid: 'u', resourceVersion: '1', creationTimestamp: '' },
    spec: {},
    status: { addresses: [{ type: 'InternalIP', address }] },
  };
}

async function scene() {
  const nowMs = Date.now();
  const ca = await createCertificateAuthority({ commonName: 'ca', days: 1, nowMs });
  const commonName = 'kube-apiserver-kubelet-client';
  const pair = await issueCertificate(ca, { commonName, organizations: ['g'], usages: ['client'], days: 1, nowMs });
  const users: UserInfo[] = [];
  const agent = createServer(async (request, response) => {
    response.setHeader('content-type', 'text/plain');
    response.end(`${request.method} ${request.url} ${await text(request)}`);
  });
  agent.on('upgrade', (request, socket: Duplex) => {
    if (request.url?.startsWith('/refuse')) return socket.end('HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno');
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\nhello ');
    socket.pipe(socket);
    return undefined;
  });
  const { ownNode, servedBy } = createOwnNode(ORIGIN, pair.certPem);
  const connection = createNodeConnection({ ...pair, ownNode });
  const serve = () =>
    servedBy({
      serve(its, user) {
        users.push(user);
        agent.emit('connection', its);
      },
    });
  const objects = { get: async (_: unknown, __: string, name: string) => nodes[name], list: async () => [] } as never;
  const signal = new AbortController();
  return { connection, serve, users, options: { objects, signal: signal.signal }, signal };
}

test('requests pass with method, path, query and body, as the API server itself', async (t) => {
  const { connection, serve, users, options } = await scene();
  serve();
  const query = new URLSearchParams({ follow: 'true' });
  const answer = await connection.get('own', '/containerLogs/a/b/c', query, options);
  t.is(answer.status, 200);
  t.is(answer.contentType, 'text/plain');
  t.is(await text(answer.body), 'GET /containerLogs/a/b/c?follow=true ');
  const posted = await connection.request(
    'own',
    {
      method: 'POST',
      path: '/run',
      query: new URLSearchParams(),
      headers: { 'x-a': '1' },
      body: Readable.from(['body']),
    },
    options,
  );
  t.is(await text(posted.body), 'POST /run body');
  t.deepEqual(users[0], { username: 'kube-apiserver-kubelet-client', groups: ['g'] });
});

test('an upgrade is a connection both ways; a refusal is told', async (t) => {
  const { connection, serve, options } = await scene();
  serve();
  const ask = (path: string) => ({
    method: 'POST',
    path,
    query: new URLSearchParams(),
    headers: { connection: 'Upgrade', upgrade: 'SPDY/3.1' },
  });
  const joined = await connection.upgrade('own', ask('/exec'), options);
  if (!('socket' in joined)) return t.fail('refused');
  t.regex(joined.rawHeaders, /Upgrade: SPDY\/3\.1/);
  joined.socket.end('there');
  t.is(joined.head.toString() + (await text(joined.socket)), 'hello there');
  const refused = await connection.upgrade('own', ask('/refuse'), options);
  t.true('refused' in refused && refused.refused === 404);
});

test('a client that leaves ends its request', async (t) => {
  const { connection, serve, options, signal } = await scene();
  serve();
  const { body } = await connection.get('own', '/x', new URLSearchParams(), options);
  await text(body);
  signal.abort();
  await t.throwsAsync(connection.get('own', '/x', new URLSearchParams(), options));
});

test('before the agent serves, and for a node at another address, the network is asked', async (t) => {
  const { connection, serve, users, options, signal } = await scene();
  const stop = () => setTimeout(() => signal.abort(), 100);
  stop();
  await t.throwsAsync(connection.get('own', '/x', new URLSearchParams(), options));
  serve();
  await t.throwsAsync(connection.get('moved', '/x', new URLSearchParams(), options));
  t.is(users.length, 0);
});

/** Certificates of a running control plane are renewed: the API server's own, its clients', and the one that it shows to nodes. */
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import test from 'ava';
import { createNodeConnection } from '../../../control-plane/apiserver/nodes/node-connection.ts';
import { issueCertificate } from '../../../src/auth/authority.ts';
import { createKubeClient } from '../../../src/kube/client.ts';
import { namespaces } from '../../../src/kube/resources.ts';
import { createFakeClock } from '../../fakes/clock.ts';
import { startTestControlPlane } from '../../support/control-plane.ts';
import { eventually } from '../../support/eventually.ts';

const validity = { days: 1, nowMs: Date.now() };

async function shownBy(port: number, ca: string): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port, ca });
  await once(socket, 'secureConnect');
  const { fingerprint256 } = socket.getPeerCertificate();
  socket.destroy();
  return fingerprint256;
}

test('the API server serves new connections with the new certificate, watches go on, and one that is no certificate changes nothing', async (t) => {
  const server = await startTestControlPlane();
  t.teardown(() => server.stop());
  const admin = await server.admin();
  const watched: string[] = [];
  const stop = new AbortController();
  const { metadata } = await admin.list(namespaces);
  const watching = (async () => {
    for await (const event of admin.watch(namespaces, {
      resourceVersion: metadata.resourceVersion ?? '0',
      signal: stop.signal,
    }))
      if (event.type === 'ADDED') watched.push(event.object.metadata.name!);
  })();
  const before = await shownBy(server.port, server.caPem);
  server.useCertificate(
    await issueCertificate(server.ca, {
      commonName: 'kube-apiserver',
      ipAddresses: ['127.0.0.1'],
      usages: ['server'],
      ...validity,
    }),
  );
  const after = await shownBy(server.port, server.caPem);
  t.not(after, before);
  t.throws(() => server.useCertificate({ certPem: 'torn', keyPem: 'torn' }));
  t.is(await shownBy(server.port, server.caPem), after);
  await (await server.admin()).create(namespaces, { metadata: { name: 'late' }, spec: {} });
  await eventually('the watch tells', () => watched.length > 0);
  t.deepEqual(watched, ['late'], 'the watch of before');
  stop.abort();
  await watching;
});

test('a client whose certificate stands in files is somebody else when they are, without a restart', async (t) => {
  const server = await startTestControlPlane();
  t.teardown(() => server.stop());
  const folder = mkdtempSync(join(tmpdir(), 'berth-client-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const files = { certFile: join(folder, 'a.crt'), keyFile: join(folder, 'a.key') };
  const write = async (groups: string[]) => {
    const pair = await server.credentials('somebody', groups);
    writeFileSync(files.keyFile, pair.keyPem);
    writeFileSync(files.certFile, pair.certPem);
    return pair;
  };
  const clock = createFakeClock();
  const pair = await write([]);
  const client = createKubeClient(
    { server: server.url, caPem: server.caPem, ...pair, ...files, userAgent: 'test' },
    { clock },
  );
  t.teardown(() => client.close());
  await t.throwsAsync(client.list(namespaces), { message: /forbidden/ });
  await write(['system:masters']);
  await t.throwsAsync(client.list(namespaces), { message: /forbidden/ }, 'files are read once a minute');
  await clock.advance(61_000);
  await t.notThrowsAsync(client.list(namespaces));
});

test('nodes are shown the new client certificate; a log that is followed meanwhile goes on', async (t) => {
  const server = await startTestControlPlane();
  t.teardown(() => server.stop());
  const serving = await issueCertificate(server.ca, {
    commonName: 'n',
    ipAddresses: ['127.0.0.1'],
    usages: ['server'],
    ...validity,
  });
  const names: string[] = [];
  const node = createServer(
    { cert: serving.certPem, key: serving.keyPem, ca: server.caPem, requestCert: true, rejectUnauthorized: true },
    (request, response) => {
      names.push(String((request.socket as TLSSocket).getPeerCertificate().subject.CN));
      response.write('line\n');
      if (request.url !== '/follow') response.end();
    },
  );
  node.listen(0, '127.0.0.1');
  await once(node, 'listening');
  t.teardown(() => {
    node.closeAllConnections();
    node.close();
  });
  const { port } = node.address() as AddressInfo;
  const object = {
    metadata: { name: 'n' },
    status: {
      addresses: [{ type: 'InternalIP', address: '127.0.0.1' }],
      daemonEndpoints: { kubeletEndpoint: { Port: port } },
    },
  };
  const pair = await server.credentials('before');
  const nodes = createNodeConnection({ ...pair, caPem: server.caPem });
  t.teardown(() => nodes.close());
  const objects = { get: async () => object } as unknown as Parameters<typeof nodes.get>[3]['objects'];
  const ask = (path: string) =>
    nodes.get('n', path, new URLSearchParams(), { objects, signal: new AbortController().signal });
  const followed = await ask('/follow');
  nodes.useCertificate(await server.credentials('after'));
  const { body } = await ask('/once');
  t.is(await body.toArray().then(String), 'line\n');
  t.deepEqual(names, ['before', 'after']);
  let text = '';
  followed.body.on('data', (chunk) => {
    text += chunk;
  });
  await once(followed.body, 'data');
  t.is(text, 'line\n');
  t.false(followed.body.destroyed);
  followed.body.destroy();
});

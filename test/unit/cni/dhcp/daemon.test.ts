import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import test, { type ExecutionContext } from 'ava';
import { createDhcpDaemon } from '../../../../cni/ipam/dhcp/daemon.ts';
import { createDaemonClient } from '../../../../cni/ipam/dhcp/daemon-client.ts';
import { createDhcpIpam } from '../../../../cni/ipam/dhcp/dhcp.ts';
import type { DhcpLeases, LeaseRequest } from '../../../../cni/ipam/dhcp/leases.ts';
import type { DhcpMessage } from '../../../../cni/ipam/dhcp/message.ts';
import { CniError } from '../../../../cni/types.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';

const KEY = { network: 'net', containerId: 'one', ifname: 'eth0' };
const ACK: DhcpMessage = {
  op: 'reply',
  transaction: 7,
  seconds: 0,
  broadcast: false,
  clientAddress: '0.0.0.0',
  yourAddress: '10.5.0.9',
  hardwareAddress: Uint8Array.from([2, 0, 0, 0, 0, 1]),
  options: new Map([[1, Buffer.from([255, 255, 255, 0])]]),
};

/** A daemon on a socket whose leases are what the test says. */
async function setUp(t: ExecutionContext, leases: Partial<DhcpLeases>, hostPrefix = '') {
  const folder = mkdtempSync(join(tmpdir(), 'berth-dhcp-daemon-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const socketPath = join(folder, 'd.sock');
  const server = createDhcpDaemon(leases as DhcpLeases, { hostPrefix }, { log: silentLogger });
  server.listen(socketPath);
  await once(server, 'listening');
  t.teardown(() => void server.close());
  /** Bytes as they are, and all that comes back. */
  const raw = async (bytes: string) => {
    const socket = createConnection(socketPath);
    socket.write(bytes);
    return text(socket);
  };
  return { socketPath, raw, client: createDaemonClient(socketPath) };
}

test('a lease is asked for in full, and its acknowledgement comes back; paths of namespaces get the prefix', async (t) => {
  let asked: LeaseRequest | undefined;
  const { client } = await setUp(
    t,
    {
      allocate: async (request) => {
        asked = request;
        return ACK;
      },
      held: () => undefined,
    },
    '/host',
  );
  const options = { request: [3, 1], provide: [[12, Uint8Array.from([97])]] as const };
  t.deepEqual(await client.allocate({ key: KEY, netns: '/proc/7/ns/net', options, only: '10.5.0.9' }), ACK);
  t.deepEqual(asked, { key: KEY, netns: '/host/proc/7/ns/net', options, only: '10.5.0.9' });
  t.is(await client.held(KEY), undefined);
  await client.ping();
});

test('an error of CNI is told with code and details; another one by its message', async (t) => {
  const errors = [new CniError(11, 'no server answered', { details: 'on eth0' }), new Error('surprise')];
  const { client } = await setUp(t, {
    release: async () => {
      throw errors.shift();
    },
  });
  const first = await t.throwsAsync(client.release(KEY), { name: 'CniError', code: 11, message: 'no server answered' });
  t.is((first as CniError).details, 'on eth0');
  await t.throwsAsync(client.release(KEY), { code: 0, message: 'surprise' });
});

test('who is gone waits for nothing: a plugin that was killed ends its exchange', async (t) => {
  const ended = Promise.withResolvers<string>();
  const { socketPath } = await setUp(t, {
    allocate: (_, signal) =>
      new Promise((_resolve, reject) => {
        signal!.addEventListener('abort', () => {
          ended.resolve((signal!.reason as Error).message);
          reject(signal!.reason);
        });
        socket.destroy();
      }),
  });
  const body = JSON.stringify({ key: KEY, netns: '/n', options: { request: [], provide: [] } });
  const socket = createConnection(socketPath);
  socket.write(`POST /v1/allocate HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
  t.is(await ended.promise, 'dhcp: who asked is gone');
});

test('bad words: each is refused by name, and the daemon lives on', async (t) => {
  const { raw, client } = await setUp(t, {});
  const post = (path: string, body: string) =>
    raw(`POST ${path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
  t.regex(await post('/v1/colour', '{}'), /"code":2,"msg":"dhcp: the daemon does not know \/v1\/colour"/);
  t.regex(await post('/v1/allocate', '{}'), /"code":6,"msg":"dhcp: netns of a message/);
  t.regex(await post('/v1/allocate', '{"netns":"/n"}'), /dhcp: options of a message/);
  t.regex(await post('/v1/release', '{"key":{"network":"n"}}'), /dhcp: key of a message/);
  t.regex(await post('/v1/release', 'no json'), /"code":0/);
  t.regex(await raw('hello\r\n\r\n'), /^HTTP\/1.0 400/);
  t.regex(await raw('CONNECT /_goRPC_ HTTP/1.0\n\n'), /^HTTP\/1.0 501 this is Berth's DHCP daemon/);
  await client.ping();
});

test('the plugin: whom it asks when this process keeps leases and a daemon listens as well', async (t) => {
  const told: string[] = [];
  const leasesOf = (name: string, has = false) =>
    ({
      allocate: async () => {
        told.push(`${name} allocate`);
        return ACK;
      },
      held: () => (has ? ACK : undefined),
      release: async () => void told.push(`${name} release`),
      collect: async () => void told.push(`${name} collect`),
    }) as unknown as DhcpLeases;
  const { socketPath } = await setUp(t, leasesOf('daemon'));
  const config = { network: 'net', socketPath, options: { request: [], provide: [] }, result: {} };
  const request = { containerId: 'one', ifname: 'eth0', netns: '/n', args: {} };
  const ipam = createDhcpIpam(leasesOf('own', true));
  const result = await ipam.add(config, request);
  t.is(result.ips[0]!.address, '10.5.0.9/24');
  await ipam.check(config, request, result);
  await t.throwsAsync(ipam.check(config, request, { ...result, ips: [{ address: '10.5.0.8/24' }] }), {
    message: 'dhcp: the lease is of 10.5.0.9, the container has 10.5.0.8',
  });
  await ipam.del(config, request);
  await ipam.gc(config, []);
  t.deepEqual(told, ['daemon allocate', 'own release', 'daemon release', 'own collect', 'daemon collect']);
  told.length = 0;
  const alone = { ...config, socketPath: `${socketPath}.none` };
  await ipam.add(alone, request);
  await ipam.del(alone, request);
  await ipam.status(alone);
  t.deepEqual(told, ['own allocate', 'own release']);
});

test('a server that does not tell the size of its subnet: the lease is given back', async (t) => {
  const told: string[] = [];
  const { socketPath } = await setUp(t, {
    allocate: async () => ({ ...ACK, options: new Map() }),
    release: async () => void told.push('release'),
  });
  const config = { network: 'net', socketPath, options: { request: [], provide: [] }, result: {} };
  const request = { containerId: 'one', ifname: 'eth0', netns: '/n', args: {} };
  await t.throwsAsync(createDhcpIpam().add(config, request), { message: /Subnet Mask not found/ });
  t.deepEqual(told, ['release']);
});

test('a daemon that was killed left its socket: a process that keeps leases does so itself; a DEL goes through', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'berth-dhcp-stale-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const socketPath = join(folder, 'd.sock');
  writeFileSync(socketPath, '');
  const config = { network: 'net', socketPath, options: { request: [], provide: [] }, result: {} };
  const request = { containerId: 'one', ifname: 'eth0', netns: '/n', args: {} };
  const own = { allocate: async () => ACK, release: async () => {}, held: () => undefined } as unknown as DhcpLeases;
  t.is((await createDhcpIpam(own).add(config, request)).ips[0]!.address, '10.5.0.9/24');
  await createDhcpIpam(own).status(config);
  const alone = createDhcpIpam();
  await t.throwsAsync(alone.add(config, request), { code: 50, message: /nobody listens/ });
  await t.throwsAsync(alone.status(config), { code: 50 });
  await alone.del(config, request);
  await alone.gc(config, []);
  await t.throwsAsync(alone.check(config, request, { interfaces: [], ips: [], routes: [] }), { code: 3 });
});

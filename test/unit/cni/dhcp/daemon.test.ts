/** The DHCP daemon's socket, from both ends, and whom the plugin asks. */
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import test, { type ExecutionContext } from 'ava';
import { createDhcpDaemon } from '../../../../cni/ipam/dhcp/daemon.ts';
import { createDaemonClient } from '../../../../cni/ipam/dhcp/daemon-client.ts';
import { createDhcpIpam } from '../../../../cni/ipam/dhcp/dhcp.ts';
import { createGobDecoder } from '../../../../cni/ipam/dhcp/gob/decoder.ts';
import { createGobEncoder, type SendableStruct, type StructSchema } from '../../../../cni/ipam/dhcp/gob/encoder.ts';
import type { GobStruct } from '../../../../cni/ipam/dhcp/gob/values.ts';
import type { DhcpConfig, LeaseHolder } from '../../../../cni/ipam/dhcp/lease-holder.ts';
import type { DhcpLeases } from '../../../../cni/ipam/dhcp/leases.ts';
import type { DhcpMessage } from '../../../../cni/ipam/dhcp/message.ts';
import { parseDhcpCall } from '../../../../cni/programs/dhcp.ts';
import { CniError, type CniResult } from '../../../../cni/types.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { createRandom } from '../../../support/random.ts';

/** As Debian's plugin (CNI 1.0) sends it: an ADD of container `one`. */
const FROM_REFERENCE = Buffer.from(
  '2fff81030101075265717565737401ff82000102010d536572766963654d6574686f64010c000103536571010600000012ff' +
    '82010d444843502e416c6c6f63617465005aff8303010107436d644172677301ff84000106010b436f6e7461696e65724944' +
    '010c0001054e65746e73010c00010649664e616d65010c00010441726773010c00010450617468010c000109537464696e44' +
    '617461010a000000ffb8ff8401036f6e65010e2f72756e2f6e65746e732f6f6e65010465746830012249676e6f7265556e6b' +
    '6e6f776e3d313b4b38535f504f445f4e414d453d7765622d30010c2f6f70742f636e692f62696e01667b22636e6956657273' +
    '696f6e223a22312e302e30222c226e616d65223a226e6574222c2274797065223a22627269646765222c226970616d223a7b' +
    '2274797065223a2264686370222c226461656d6f6e536f636b657450617468223a22642e736f636b227d7d00',
  'hex',
);
const RESULT: CniResult = {
  interfaces: [],
  ips: [{ address: '10.5.0.9/24', gateway: '10.5.0.1' }],
  routes: [
    { dst: '0.0.0.0/0', gw: '10.5.0.1', priority: 7 },
    { dst: '10.6.0.0/15', gw: '0.0.0.0', scope: 253 },
    { dst: 'fd00::/48', gw: 'fd00::1', mtu: 1400, advmss: 1300, table: 12 },
  ],
  dns: { nameservers: ['10.5.0.53'], domain: 'a.example', search: ['b'], options: ['ndots:2'] },
};
const REQUEST = { containerId: 'one', ifname: 'eth0', netns: '/proc/7/ns/net', args: { K8S_POD_NAME: 'web-0' } };
const ipam = { type: 'dhcp', provide: [{ option: 'host-name', fromArg: 'K8S_POD_NAME' }] };

function configOf(socketPath: string, more: object = {}): DhcpConfig {
  const raw = { cniVersion: '9.9.9', name: 'net', prevResult: 'of another time', ipam: { ...ipam, ...more } };
  return { network: 'net', socketPath, options: { request: [], provide: [] }, result: {}, raw };
}

/** In place of bytes: the caller's side is closed. */
const LEAVE = '';

/** A daemon on a socket whose leases are what the test says. */
async function setUp(t: ExecutionContext, holder: Partial<LeaseHolder>, hostPrefix = '') {
  const folder = mkdtempSync(join(tmpdir(), 'berth-dhcp-daemon-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const socketPath = join(folder, 'd.sock');
  const deps = { parse: parseDhcpCall, log: silentLogger };
  const { server, close } = createDhcpDaemon(holder as LeaseHolder, { hostPrefix }, deps);
  server.listen(socketPath);
  await once(server, 'listening');
  t.teardown(close);
  /** Bytes as they are, and all that comes back. */
  const raw = async (...bytes: (string | Uint8Array)[]) => {
    const socket = connect(socketPath);
    for (const part of bytes)
      if (part === LEAVE) socket.end();
      else socket.write(part);
    return text(socket);
  };
  return { folder, socketPath, raw, client: createDaemonClient(socketPath), config: configOf(socketPath), close };
}

const CONNECT = 'CONNECT /_goRPC_ HTTP/1.0\n\n';

/** What comes behind the greeting: headers and values in turn. */
async function answers(socket: Socket, count: number): Promise<GobStruct[]> {
  const decoder = createGobDecoder();
  const found: GobStruct[] = [];
  let greeted = false;
  for await (const chunk of socket) {
    const rest = greeted ? chunk : chunk.subarray(chunk.indexOf('\n\n') + 2);
    greeted = true;
    found.push(...(decoder.push(rest) as GobStruct[]));
    if (found.length >= count) break;
  }
  return found;
}

test('the reference plugin’s bytes are understood: who asks, with which configuration, and what it gets', async (t) => {
  const asked: unknown[] = [];
  const { socketPath } = await setUp(
    t,
    {
      allocate: async ({ network, options }, request) => {
        asked.push(network, options, request);
        return RESULT;
      },
    },
    '/host',
  );
  const socket = connect(socketPath);
  socket.write(Buffer.concat([Buffer.from(CONNECT), FROM_REFERENCE]));
  const [header, result] = await answers(socket, 2);
  t.deepEqual(asked, [
    'net',
    { request: [3, 1], provide: [] },
    { containerId: 'one', ifname: 'eth0', netns: '/host/run/netns/one', args: {} },
  ]);
  t.deepEqual(header, new Map([['ServiceMethod', 'DHCP.Allocate']]));
  const [ip] = result!.get('IPs') as GobStruct[];
  t.deepEqual(
    [...(ip!.get('Address') as Map<string, Buffer>).values(), ip!.get('Gateway') as Buffer].map((one) => [...one]),
    [
      [10, 5, 0, 9],
      [255, 255, 255, 0],
      [10, 5, 0, 1],
    ],
  );
});

test('our own plugin: every call with its words, and results with all that they may have', async (t) => {
  const asked: unknown[] = [];
  const { client, config } = await setUp(t, {
    allocate: async ({ network, options: { provide } }, request) => {
      asked.push('allocate', network, Buffer.from(provide[0]![1]).toString(), request.netns);
      return RESULT;
    },
    release: async (_, { containerId, ifname }) => void asked.push('release', containerId, ifname),
    check: async (_, { netns }, address) => void asked.push('check', netns, address),
    collect: async ({ network }, valid) => void asked.push('collect', network, valid),
  });
  t.deepEqual(await client.allocate(config, REQUEST), RESULT);
  await client.release(config, REQUEST);
  await client.check(config, REQUEST, '10.5.0.9');
  await client.check(config, REQUEST, undefined);
  await client.collect(config, [{ containerId: 'two', ifname: 'eth1' }]);
  await client.collect(config, []);
  await client.status();
  t.deepEqual(asked, [
    ...['allocate', 'net', 'web-0', '/proc/7/ns/net'],
    ...['release', 'one', 'eth0'],
    ...['check', '/proc/7/ns/net', '10.5.0.9'],
    ...['check', '/proc/7/ns/net', undefined],
    ...['collect', 'net', [{ containerId: 'two', ifname: 'eth1' }]],
    ...['collect', 'net', []],
  ]);
});

test('an error of CNI is told with code and details; another one by its message', async (t) => {
  const errors = [new CniError(11, 'no server answered', { details: 'on eth0' }), new Error('surprise')];
  const { client, config, socketPath } = await setUp(t, {
    release: async () => {
      throw errors.shift();
    },
  });
  const first = await t.throwsAsync(client.release(config, REQUEST), {
    name: 'CniError',
    code: 11,
    message: 'no server answered',
  });
  t.is((first as CniError).details, 'on eth0');
  await t.throwsAsync(client.release(config, REQUEST), {
    code: 0,
    message: `surprise (the DHCP daemon on ${socketPath})`,
  });
});

test('who is gone waits for nothing: a plugin that was killed ends its exchange', async (t) => {
  const ended = Promise.withResolvers<string>();
  const { socketPath } = await setUp(t, {
    allocate: (_, __, signal) =>
      new Promise((_resolve, reject) => {
        signal!.addEventListener('abort', () => {
          ended.resolve((signal!.reason as Error).message);
          reject(signal!.reason);
        });
        socket.destroy();
      }),
  });
  const socket = connect(socketPath);
  socket.write(Buffer.concat([Buffer.from(CONNECT), FROM_REFERENCE]));
  t.is(await ended.promise, 'dhcp: who asked is gone');
});

const CALL: StructSchema = { name: 'Request', fields: { ServiceMethod: 'string', Seq: 'uint' } };
const WORDS: StructSchema = {
  name: 'CmdArgs',
  fields: { ContainerID: 'string', IfName: 'string', StdinData: 'bytes', Args: 'string' },
};

test('several calls over one connection: each is answered when it is done, under its number', async (t) => {
  const first = Promise.withResolvers<void>();
  const { socketPath } = await setUp(t, {
    release: async (_, { containerId }) => {
      if (containerId === 'slow') return first.promise;
      // When the answer to this one is written.
      setImmediate(first.resolve);
    },
  });
  const encoder = createGobEncoder();
  const socket = connect(socketPath);
  socket.write(CONNECT);
  for (const [id, Seq] of [
    ['slow', 2n ** 63n],
    ['quick', 5],
  ] as const) {
    socket.write(encoder.encode(CALL, { ServiceMethod: 'DHCP.Release', Seq }));
    const StdinData = Buffer.from(JSON.stringify({ name: 'net', ipam }));
    socket.write(encoder.encode(WORDS, { ContainerID: id, IfName: 'eth0', StdinData }));
  }
  const found = await answers(socket, 4);
  t.deepEqual(
    found.map((one) => one.get('Seq')),
    [5, undefined, 2n ** 63n, undefined],
  );
});

test('bad words: each is refused by name, and the daemon lives on', async (t) => {
  const { raw, client, socketPath } = await setUp(t, {});
  const call = async (ServiceMethod: string, args: SendableStruct) => {
    const encoder = createGobEncoder();
    const socket = connect(socketPath);
    socket.write(CONNECT);
    socket.write(Buffer.concat([encoder.encode(CALL, { ServiceMethod }), encoder.encode(WORDS, args)]));
    const [header] = await answers(socket, 2);
    return `${header!.get('Code') ?? 0} ${header!.get('Error')}`;
  };
  const StdinData = Buffer.from('{"name": "net"}');
  t.is(await call('DHCP.Colour', {}), "2 rpc: can't find method DHCP.Colour");
  t.regex(await call('DHCP.Allocate', {}), /^0 .*JSON/);
  t.is(await call('DHCP.Allocate', { StdinData }), '6 dhcp: a call of the plugin needs ContainerID and IfName');
  t.is(await call('DHCP.Release', { StdinData: Buffer.from('{"name": "../up"}') }), '7 invalid network name "../up"');
  const badArgs = { StdinData, ContainerID: 'one', IfName: 'eth0', Args: 'K8S' };
  t.regex(await call('DHCP.Release', badArgs), /^4 CNI_ARGS: invalid pair/);
  t.regex(await raw('hello\r\n\r\n'), /^HTTP\/1.0 404 /);
  t.regex(await raw('GET /_goRPC_ HTTP/1.1\r\nhost: x\r\n\r\n'), /^HTTP\/1.0 405 must CONNECT/);
  t.regex(await raw('x'.repeat(9000)), /^HTTP\/1.0 431/);
  t.is(await raw(CONNECT, Buffer.from([0xf0, 1, 2])), 'HTTP/1.0 200 Connected to Go RPC\n\n');
  t.is(await raw(CONNECT, createGobEncoder().encode('string', 'a text')), 'HTTP/1.0 200 Connected to Go RPC\n\n');
  await client.status();
});

test('calls with bytes changed end their connections at most: the daemon lives on', async (t) => {
  const { raw, client } = await setUp(t, { allocate: async () => RESULT });
  const { below } = createRandom(0x9c);
  for (let round = 0; round < 200; round++) {
    const bytes = Buffer.from(FROM_REFERENCE);
    for (let changes = 1 + below(3); changes > 0; changes--) bytes[below(bytes.length)] = below(256);
    // Of a message that is never whole the caller goes; a connection may be cut while it still speaks.
    await raw(CONNECT, bytes, LEAVE).catch(() => '');
  }
  await t.notThrowsAsync(client.status());
});

test('a daemon that ends takes nobody’s time: whoever waits hears of it', async (t) => {
  const asked = Promise.withResolvers<void>();
  const { client, config, close } = await setUp(t, {
    allocate: (_, __, signal) =>
      new Promise((_resolve, reject) => {
        signal!.addEventListener('abort', () => reject(signal!.reason));
        asked.resolve();
      }),
  });
  const waiting = t.throwsAsync(client.allocate(config, REQUEST), { code: 5, message: /closed the connection/ });
  await asked.promise;
  close();
  await waiting;
});

/** A stand-in that answers each call as told, by bytes of its own making. */
async function listenAs(
  t: ExecutionContext,
  answer: (method: string) => { header: SendableStruct; value?: SendableStruct },
) {
  const folder = mkdtempSync(join(tmpdir(), 'berth-dhcp-reference-'));
  const socketPath = join(folder, 'd.sock');
  const asked: string[] = [];
  const server = createServer((socket) => {
    const decoder = createGobDecoder();
    let greeted = false;
    socket.on('data', (chunk) => {
      const values = decoder.push(greeted ? chunk : chunk.subarray(chunk.indexOf('\n\n') + 2)) as GobStruct[];
      if (!greeted) socket.write('HTTP/1.0 200 Connected to Go RPC\n\n');
      greeted = true;
      const method = values[0]?.get('ServiceMethod');
      if (typeof method !== 'string') return;
      asked.push(method);
      const { header, value = {} } = answer(method);
      const encoder = createGobEncoder();
      socket.write(encoder.encode({ name: 'Response', fields: { ServiceMethod: 'string', Error: 'string' } }, header));
      socket.write(encoder.encode(THEIR_RESULT, value));
    });
  });
  server.listen(socketPath);
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return { asked, client: createDaemonClient(socketPath), config: configOf(socketPath) };
}

const NET = { name: 'IPNet', fields: { IP: 'bytes', Mask: 'bytes' } } as const;
/** Results of CNI 1.0, which know no priority. */
const THEIR_RESULT: StructSchema = {
  name: 'Result',
  fields: {
    CNIVersion: 'string',
    IPs: { elements: { name: 'IPConfig', fields: { Interface: 'int', Address: NET, Gateway: 'bytes' } } },
    Routes: { elements: { name: 'Route', fields: { Dst: NET, GW: 'bytes' } } },
  },
};
const MASK = Buffer.from([255, 255, 255, 0]);
/** Go keeps an address of IPv4 in 16 bytes as soon as it was parsed from text. */
const LONG = Buffer.concat([Buffer.alloc(10), Buffer.from([255, 255, 10, 5, 0, 1])]);
const THEIRS = {
  IPs: [{ Address: { IP: Buffer.from([10, 5, 0, 9]), Mask: MASK }, Gateway: LONG }],
  Routes: [{ Dst: { IP: Buffer.alloc(4), Mask: Buffer.alloc(4) }, GW: LONG }],
};

test('the reference daemon: what it does not know, the plugin does; what it has not is left', async (t) => {
  const { asked, client, config } = await listenAs(t, (method) =>
    method === 'DHCP.Allocate'
      ? { header: {}, value: THEIRS }
      : { header: method === 'DHCP.Release' ? {} : { Error: `rpc: can't find service ${method}` } },
  );
  const ips = [{ address: '10.5.0.9/24', gateway: '10.5.0.1' }];
  const routes = [{ dst: '0.0.0.0/0', gw: '10.5.0.1' }];
  t.deepEqual(await client.allocate(config, REQUEST), { interfaces: [], ips, routes });
  const first = { ...config, result: { priority: 9 } };
  t.deepEqual((await client.allocate(first, REQUEST)).routes, [{ ...routes[0]!, priority: 9 }]);
  const bare = await client.allocate({ ...config, result: { suppressGateway: true } }, REQUEST);
  t.deepEqual(bare, { interfaces: [], ips: [{ address: '10.5.0.9/24' }], routes: [] });
  await client.release(config, REQUEST);
  asked.length = 0;
  await client.check(config, REQUEST, '10.5.0.9');
  await t.throwsAsync(client.check(config, REQUEST, '10.5.0.8'), {
    message: 'dhcp: the lease is of 10.5.0.9, the container has 10.5.0.8',
  });
  await client.collect(config, []);
  await client.status();
  t.deepEqual(asked, [
    ...['Berth.Check', 'DHCP.Allocate', 'Berth.Check', 'DHCP.Allocate'],
    ...['Berth.GC', 'Berth.Status'],
  ]);
});

test('the reference daemon’s errors: patience that is over is one to try again after', async (t) => {
  const errors = ['no more tries', 'error looking up "eth0": Link not found'];
  const { client, config } = await listenAs(t, () => ({ header: { Error: errors.shift() } }));
  await t.throwsAsync(client.allocate(config, REQUEST), { code: 11, message: /^no more tries \(the DHCP daemon on / });
  await t.throwsAsync(client.allocate(config, REQUEST), { code: 0, message: /Link not found/ });
});

for (const [what, value] of [
  ['an address of five bytes', { IPs: [{ Address: { IP: Buffer.alloc(5), Mask: MASK } }] }],
  ['an address of none', { IPs: [{ Address: { Mask: MASK } }] }],
  ['a mask with holes', { IPs: [{ Address: { IP: Buffer.alloc(4), Mask: Buffer.from([255, 0, 255, 0]) } }] }],
  ['a mask of IPv4 beside an address of IPv6', { Routes: [{ Dst: { IP: Buffer.alloc(16), Mask: MASK } }] }],
] as const)
  test(`a daemon’s result with ${what} is refused`, async (t) => {
    const { client, config } = await listenAs(t, () => ({ header: {}, value }));
    await t.throwsAsync(client.allocate(config, REQUEST), {
      code: 6,
      message: /in the daemon's result is not as it must be/,
    });
  });

test('somebody else on the socket: what it says is told', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'berth-dhcp-web-'));
  const socketPath = join(folder, 'd.sock');
  const server = createServer((socket) => void socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
  server.listen(socketPath);
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const client = createDaemonClient(socketPath);
  const error = await t.throwsAsync(client.allocate(configOf(socketPath), REQUEST), {
    code: 50,
    message: `dhcp: what listens on ${socketPath} is no DHCP daemon`,
  });
  t.regex((error as CniError).details!, /HTTP\/1.1 400 Bad Request; stop it/);
});

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

test('the plugin: whom it asks when this process keeps leases and a daemon listens as well', async (t) => {
  const told: string[] = [];
  const { config } = await setUp(t, {
    allocate: async () => {
      told.push('daemon allocate');
      return RESULT;
    },
    release: async () => void told.push('daemon release'),
    check: async () => void told.push('daemon check'),
    collect: async () => void told.push('daemon collect'),
  });
  let held: DhcpMessage | undefined = ACK;
  const own = {
    allocate: async ({ only }: { only?: string }) => {
      told.push(`own allocate${only ? ` ${only}` : ''}`);
      return ACK;
    },
    held: () => held,
    release: async () => void told.push('own release'),
    collect: async () => void told.push('own collect'),
  } as unknown as DhcpLeases;
  const plugin = createDhcpIpam(own);
  const result = await plugin.add(config, REQUEST);
  t.is(result.ips[0]!.address, '10.5.0.9/24');
  await plugin.check(config, REQUEST, result);
  await t.throwsAsync(plugin.check(config, REQUEST, { ...result, ips: [{ address: '10.5.0.8/24' }] }), {
    message: 'dhcp: the lease is of 10.5.0.9, the container has 10.5.0.8',
  });
  held = undefined;
  await plugin.check(config, REQUEST, result);
  await plugin.del(config, REQUEST);
  await plugin.gc(config, []);
  const fromDaemon = [
    'daemon allocate',
    'daemon check',
    'own release',
    'daemon release',
    'own collect',
    'daemon collect',
  ];
  t.deepEqual(told, fromDaemon);
  told.length = 0;
  const alone = { ...config, socketPath: `${config.socketPath}.none` };
  await plugin.add(alone, REQUEST);
  await plugin.check(alone, REQUEST, result);
  await t.throwsAsync(plugin.check(alone, REQUEST, { ...result, ips: [] }), { code: 0 });
  await plugin.del(alone, REQUEST);
  await plugin.status(alone);
  t.deepEqual(told, ['own allocate', 'own allocate 10.5.0.9', 'own release']);
});

test('a server that does not tell the size of its subnet: the lease is given back', async (t) => {
  const told: string[] = [];
  const own = {
    allocate: async () => ({ ...ACK, options: new Map() }),
    release: async () => void told.push('release'),
  } as unknown as DhcpLeases;
  const alone = configOf('/nowhere/d.sock');
  await t.throwsAsync(createDhcpIpam(own).add(alone, REQUEST), { message: /Subnet Mask not found/ });
  t.deepEqual(told, ['release']);
});

test('a daemon that was killed left its socket: a process that keeps leases does so itself; a DEL goes through', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'berth-dhcp-stale-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const config = configOf(join(folder, 'd.sock'));
  writeFileSync(config.socketPath, '');
  const own = { allocate: async () => ACK, release: async () => {}, held: () => undefined } as unknown as DhcpLeases;
  t.is((await createDhcpIpam(own).add(config, REQUEST)).ips[0]!.address, '10.5.0.9/24');
  await createDhcpIpam(own).status(config);
  const alone = createDhcpIpam();
  await t.throwsAsync(alone.add(config, REQUEST), { code: 50, message: /nobody listens/ });
  await t.throwsAsync(alone.status(config), { code: 50 });
  await alone.del(config, REQUEST);
  await alone.gc(config, []);
  await t.throwsAsync(alone.check(config, REQUEST, RESULT), { code: 50, message: /nobody listens/ });
});

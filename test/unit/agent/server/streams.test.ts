import { once } from 'node:events';
import { request } from 'node:https';
import { createServer } from 'node:net';
import { Duplex, type Readable } from 'node:stream';
import test, { type ExecutionContext } from 'ava';
import { WebSocket } from 'ws';
import type { PodDirectory } from '../../../../agent/pods/ports.ts';
import { createAccess } from '../../../../agent/server/access.ts';
import { certifiedAccess } from '../../../../agent/server/authorization.ts';
import { createAgentServer } from '../../../../agent/server/server.ts';
import { createCertificateAuthority, issueCertificate } from '../../../../src/auth/authority.ts';
import type { ContainerSession, ContainerTerminals, SessionOptions } from '../../../../src/docker/terminals.ts';
import type { Pod } from '../../../../src/kube/types.ts';
import { systemClock } from '../../../../src/runtime/clock.ts';
import { silentLogger } from '../../../../src/runtime/log.ts';
import { createSpdyConnection } from '../../../../src/streaming/spdy/connection.ts';
import { eventually } from '../../../support/eventually.ts';
import { podOf } from '../pod.ts';
import { observed, run } from '../status/cases.ts';

/** A process of the Engine: frames on stdout and stderr (raw with a terminal), `cat` until its input ends, else `words` and an end. */
function fakeProcess(command: string[], { tty }: SessionOptions) {
  const seen = { sizes: [] as string[], closed: 0 };
  const frame = (stream: 1 | 2, data: Buffer) => {
    const head = Buffer.from([stream, 0, 0, 0, 0, 0, 0, 0]);
    head.writeUInt32BE(data.length, 4);
    return tty ? data : Buffer.concat([head, data]);
  };
  const stream = new Duplex({
    read() {},
    write(chunk: Buffer, _, done) {
      stream.push(frame(1, chunk));
      done();
    },
    final(done) {
      stream.push(null);
      done();
    },
  });
  const [name, out = '', err = '', code = '0'] = command;
  if (name === 'say') {
    if (out) stream.push(frame(1, Buffer.from(out)));
    if (err) stream.push(frame(2, Buffer.from(err)));
    stream.push(null);
  }
  const session: ContainerSession = {
    stream,
    resize: async ({ width, height }) => void seen.sizes.push(`${width}x${height}`),
    exitCode: async () => Number(code),
    async close() {
      seen.closed++;
      stream.destroy();
    },
  };
  return { session, seen };
}

async function scene(t: ExecutionContext) {
  const validity = { days: 1, nowMs: Date.now() };
  const ca = await createCertificateAuthority({ commonName: 'ca', ...validity });
  const [serving, client] = await Promise.all([
    issueCertificate(ca, { commonName: 'n1', ipAddresses: ['127.0.0.1'], usages: ['server'], ...validity }),
    issueCertificate(ca, { commonName: 'kube-apiserver-kubelet-client', usages: ['client'], ...validity }),
  ]);
  const pod = podOf({ containers: [{ name: 'app' }] });
  const pods = {
    list: () => [pod],
    get: (namespace: string, name: string) => (namespace === 'default' && name === 'web' ? pod : undefined),
    runtime: () => observed([run('app')]),
  } as unknown as PodDirectory;
  const processes: ReturnType<typeof fakeProcess>[] = [];
  const start = (command: string[], options: SessionOptions) => {
    const made = fakeProcess(command, options);
    processes.push(made);
    return made.session;
  };
  const echo = createServer({ allowHalfOpen: true }, (socket) => void socket.pipe(socket));
  echo.listen(0, '127.0.0.1');
  await once(echo, 'listening');
  const echoPort = (echo.address() as { port: number }).port;
  const server = createAgentServer(
    { address: '127.0.0.1', port: 0, healthzBindAddress: '127.0.0.1', ...serving, clientCaPem: ca.certPem },
    {
      pods,
      terminals: {
        exec: async (_id, command, options) => start(command, options),
        attach: async (_id, options) => start(['cat'], options),
      } satisfies Pick<ContainerTerminals, 'exec' | 'attach'>,
      async connectToPod(_pod: Pod, port: number) {
        if (port !== 80) throw new Error(`nobody listens on ${port}`);
        const { connect } = await import('node:net');
        const socket = connect({ port: echoPort, host: '127.0.0.1', allowHalfOpen: true });
        await once(socket, 'connect');
        return socket;
      },
      streamingIdleTimeoutMs: 5_000,
      debuggingHandlers: true,
      program: { version: '', flags: {} },
      refuseAccess: createAccess({ authorize: certifiedAccess }, { log: silentLogger }),
      clock: systemClock,
      log: silentLogger,
    } as never,
  );
  const { port } = await server.listen();
  t.teardown(async () => {
    await server.close();
    echo.close();
  });
  const tls = { ca: ca.certPem, cert: client.certPem, key: client.keyPem };

  /** Messages by channel, once the server has closed. */
  async function webSocket(path: string, protocol: string, onOpen: (socket: WebSocket) => unknown = () => {}) {
    const socket = new WebSocket(`wss://127.0.0.1:${port}${path}`, protocol === '' ? [] : [protocol], tls);
    const channels: Record<number, string> = {};
    socket.on('message', (data: Buffer, isBinary) => {
      const channel = isBinary ? data[0]! : data[0]! - 48;
      const text = isBinary ? data.toString('utf8', 1) : Buffer.from(data.toString('latin1', 1), 'base64').toString();
      channels[channel] = (channels[channel] ?? '') + text;
    });
    await once(socket, 'open');
    onOpen(socket);
    await once(socket, 'close');
    return { channels, protocol: socket.protocol };
  }

  /** Streams by type, as kube-apiserver opens them. */
  async function spdy(path: string, protocol: string) {
    const upgraded = Promise.withResolvers<{ socket: Duplex; head: Buffer; protocol: string }>();
    const call = request({
      ...tls,
      host: '127.0.0.1',
      port,
      path,
      method: 'POST',
      agent: false,
      headers: { Connection: 'Upgrade', Upgrade: 'SPDY/3.1', 'X-Stream-Protocol-Version': protocol },
    });
    call.on('upgrade', (answer, socket, head) =>
      upgraded.resolve({ socket, head, protocol: String(answer.headers['x-stream-protocol-version']) }),
    );
    call.on('response', (answer) => upgraded.reject(new Error(`HTTP ${answer.statusCode}`)));
    call.end();
    const { socket, head, protocol: chosen } = await upgraded.promise;
    const connection = createSpdyConnection(socket, { role: 'client' }, head);
    return { chosen, connection, open: (type: string, more = {}) => connection.open({ streamtype: type, ...more }) };
  }
  return { webSocket, spdy, processes };
}

async function text(stream: Readable): Promise<string> {
  let all = '';
  stream.setEncoding('utf8').on('data', (chunk: string) => {
    all += chunk;
  });
  if (!stream.readableEnded) await Promise.race([once(stream, 'end'), once(stream, 'close')]);
  return all;
}

const SAY = '/exec/default/web/app?command=say&command=out&command=err&command=3&output=1&error=1';
const CAT = '/exec/default/web/app?command=cat&input=1&output=1';
const FAILED = {
  metadata: {},
  status: 'Failure',
  message: 'command terminated with non-zero exit code: exit status 3',
  reason: 'NonZeroExitCode',
  details: { causes: [{ reason: 'ExitCode', message: '3' }] },
  code: 500,
};

for (const protocol of ['v5.channel.k8s.io', 'v4.channel.k8s.io', 'v4.base64.channel.k8s.io'])
  test(`WebSocket ${protocol}: output by channel, the outcome as a Status`, async (t) => {
    const { webSocket } = await scene(t);
    const said = await webSocket(SAY, protocol);
    t.is(said.protocol, protocol);
    t.is(said.channels[1], 'out');
    t.is(said.channels[2], 'err');
    t.deepEqual(JSON.parse(said.channels[3] ?? ''), FAILED);
    const well = await webSocket('/exec/default/web/app/?command=say&output=1'.replace('app/', 'app'), protocol);
    t.deepEqual(JSON.parse(well.channels[3] ?? ''), { metadata: {}, status: 'Success' });
  });

for (const protocol of ['channel.k8s.io', 'base64.channel.k8s.io', ''])
  test(`WebSocket ${protocol || 'without a subprotocol'}: success is silence, a failure is told in words`, async (t) => {
    const { webSocket } = await scene(t);
    t.is((await webSocket(SAY, protocol)).channels[3], FAILED.message);
    t.is((await webSocket('/exec/default/web/app?command=say&command=fine&output=1', protocol)).channels[3], undefined);
  });

test('WebSocket v5: the input can end by itself', async (t) => {
  const { webSocket, processes } = await scene(t);
  const { channels } = await webSocket(CAT, 'v5.channel.k8s.io', (socket) => {
    socket.send(Buffer.from('\u0000hello '));
    socket.send(Buffer.from('\u0000world'));
    socket.send(Buffer.from([4, ...Buffer.from('{"Width":120,"Height":40}')]));
    socket.send(Buffer.from([4, ...Buffer.from('{"Width":-1}')]));
    socket.send(Buffer.from([255, 0]));
  });
  t.is(channels[1], 'hello world');
  t.deepEqual(processes[0]?.seen.sizes, ['120x40']);
});

test('WebSocket: a client that leaves ends its process', async (t) => {
  const { webSocket, processes } = await scene(t);
  await webSocket(CAT, 'v4.channel.k8s.io', (socket) =>
    eventually('its process is there', () => processes.length === 1).then(() => socket.terminate()),
  );
  await eventually('its process is told to end', () => processes[0]!.seen.closed > 0);
  t.is(processes[0]!.seen.closed, 1);
});

for (const [protocol, streams, outcome] of [
  ['v4.channel.k8s.io', ['error', 'stdout', 'stderr'], JSON.stringify(FAILED)],
  ['v3.channel.k8s.io', ['error', 'stdout', 'stderr'], FAILED.message],
  ['v2.channel.k8s.io', ['stderr', 'stdout', 'error'], FAILED.message],
  ['channel.k8s.io', ['error', 'stdout', 'stderr'], FAILED.message],
] as const)
  test(`SPDY ${protocol}: output by stream, then the outcome`, async (t) => {
    const { spdy } = await scene(t);
    const { chosen, open } = await spdy(SAY, protocol);
    t.is(chosen, protocol);
    const opened = Object.fromEntries(streams.map((type) => [type, open(type)]));
    const [error, stdout, stderr] = await Promise.all(['error', 'stdout', 'stderr'].map((type) => text(opened[type]!)));
    t.deepEqual([error, stdout, stderr], [outcome, 'out', 'err']);
  });

test('SPDY: a terminal has a stream for its size, and no stderr', async (t) => {
  const { spdy, processes } = await scene(t);
  const path = `${CAT}&error=1&tty=1`;
  const { open } = await spdy(path, 'v4.channel.k8s.io');
  const [error, stdin, stdout, resize] = ['error', 'stdin', 'stdout', 'resize'].map((type) => open(type));
  resize!.write('{"Width":80,"Height":24}{"Width":');
  resize!.write('100,"Height":30}');
  stdin!.write('typed');
  await once(stdout!, 'readable');
  t.is(String(stdout!.read()), 'typed');
  stdin!.end();
  stdout!.resume();
  t.deepEqual(JSON.parse(await text(error!)), { metadata: {}, status: 'Success' });
  // What came before the process was there is told once, the newest.
  t.is(processes[0]?.seen.sizes.at(-1), '100x30');
});

test('SPDY port-forward: pairs by request id or by order, both ways, half-closed; what fails is said', async (t) => {
  const { spdy } = await scene(t);
  const { chosen, open } = await spdy('/portForward/default/web', 'portforward.k8s.io');
  t.is(chosen, 'portforward.k8s.io');
  const pair = (port: string, more = {}) => {
    const error = open('error', { port, ...more });
    error.end();
    return { error, data: open('data', { port, ...more }) };
  };
  const good = pair('80', { requestid: '7' });
  const old = pair('80');
  const bad = pair('81', { requestid: '8' });
  good.data.end('x'.repeat(100_000));
  old.data.end('by order');
  t.is((await text(good.data)).length, 100_000);
  t.is(await text(old.data), 'by order');
  t.is(await text(good.error), '');
  t.is(await text(bad.error), 'an error occurred forwarding port 81: nobody listens on 81');
});

test('WebSocket port-forward by channels: ports first, then data and errors', async (t) => {
  const { webSocket } = await scene(t);
  const port = Buffer.from([80, 0]).toString();
  const { channels } = await webSocket('/portForward/default/web?port=80&port=81', 'v4.channel.k8s.io', (socket) => {
    socket.send(Buffer.from('\u0000ping'));
    let bytes = 0;
    socket.on('message', (data: Buffer) => {
      bytes += data.length;
      // Four ports, the echo, and the error.
      if (bytes >= 4 * 3 + 5 + 58) socket.close();
    });
  });
  t.is(channels[0], `${port}ping`);
  t.is(channels[1], port);
  t.is(channels[3], `${Buffer.from([81, 0])}an error occurred forwarding port 81: nobody listens on 81`);
});

test('refusals come before the upgrade', async (t) => {
  const { spdy } = await scene(t);
  for (const [path, protocol, code] of [
    ['/exec/default/web/app?command=x', 'v4.channel.k8s.io', 400],
    ['/exec/default/web/app?output=1', 'v4.channel.k8s.io', 400],
    ['/exec/default/nobody/app?command=x&output=1', 'v4.channel.k8s.io', 404],
    ['/exec/default/web/other-uid/app?command=x&output=1', 'v4.channel.k8s.io', 404],
    ['/exec/default/web/app?command=x&output=1', 'v9.other', 403],
    ['/portForward/default/web', 'v9.other', 403],
  ] as const)
    await t.throwsAsync(spdy(path, protocol), { message: `HTTP ${code}` }, path);
});

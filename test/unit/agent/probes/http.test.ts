import { createServer as createHttp } from 'node:http';
import { createServer as createHttps } from 'node:https';
import { type AddressInfo, createServer as createTcp, type Server, type Socket } from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { probeHttp } from '../../../../agent/probes/http.ts';
import { formatRequest, requestTarget } from '../../../../agent/probes/http-request.ts';
import { createCertificateAuthority, issueCertificate } from '../../../../src/auth/authority.ts';
import { eventually } from '../../../support/eventually.ts';

const base = {
  scheme: 'HTTP',
  host: '127.0.0.1',
  path: '/',
  headers: [] as { name: string; value: string }[],
  timeoutMs: 20_000,
  userAgent: 'kube-probe/1.36',
} as const;

async function listen(t: ExecutionContext, server: Server, host = '127.0.0.1'): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  t.teardown(() => server.close());
  return (server.address() as AddressInfo).port;
}

/** A server of few words: what it says to whoever has sent a request; `seen` are the requests. */
async function raw(t: ExecutionContext, say: (socket: Socket, request: string) => void) {
  const seen: string[] = [];
  const sockets = new Set<Socket>();
  const server = createTcp((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('data', (data) => {
      seen.push(data.toString());
      say(socket, data.toString());
    });
  });
  const port = await listen(t, server);
  t.teardown(() => sockets.forEach((socket) => void socket.destroy()));
  return { port, seen };
}

const answers: [string, string[], RegExp | string, string?][] = [
  ['a length', ['HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'], 'ok'],
  ['until the end', ['HTTP/1.0 200 OK\r\n\r\nall of it'], 'all of it'],
  ['no reason phrase', ['HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n'], ''],
  ['no body', ['HTTP/1.1 204 No Content\r\n\r\n'], ''],
  ['bare line feeds', ['HTTP/1.1 200 OK\nContent-Length: 2\n\nok'], 'ok'],
  [
    'chunks',
    ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\nwiki\r\n5\r\npedia\r\n0\r\n\r\n'],
    'wikipedia',
  ],
  [
    'torn chunks',
    [...'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwiki\r\n0\r\nTrailer: x\r\n\r\n'],
    'wiki',
  ],
  ['early hints', ['HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'], 'ok'],
  ['nothing', [''], /^Get "http:\/\/127\.0\.0\.1:\d+\/": EOF$/, 'failure'],
  [
    'half a head',
    ['HTTP/1.1 200 OK\r\nContent-'],
    /HTTP\/1\.x transport connection broken: malformed HTTP response "HTTP\/1\.1 200 OK"/,
    'failure',
  ],
  [
    'SSH',
    ['SSH-2.0-OpenSSH_9.2\r\n'],
    /transport connection broken: malformed HTTP response "SSH-2\.0-OpenSSH_9\.2"/,
    'failure',
  ],
  [
    'a TLS alert',
    ['\x15\x03\x01\x00\x02\x02\x16'],
    /malformed HTTP response "\\x15\\x03\\x01\\x00\\x02\\x02\\x16"/,
    'failure',
  ],
  ['a bad length', ['HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n'], /bad Content-Length "-1"/, 'failure'],
  ['HTTP/2', ['HTTP/2 200\r\n\r\n'], /malformed HTTP response "HTTP\/2 200"/, 'failure'],
];
for (const [title, chunks, says, result = 'success'] of answers)
  test(`answer: ${title}`, async (t) => {
    const { port } = await raw(t, async (socket) => {
      socket.setNoDelay(true);
      for (const chunk of chunks) {
        socket.write(chunk, 'latin1');
        if (chunks.length > 1) await new Promise((resolve) => setTimeout(resolve, 1));
      }
      socket.end();
    });
    const outcome = await probeHttp({ ...base, port });
    t.is(outcome.result, result as never, outcome.output);
    if (typeof says === 'string') t.is(outcome.output, says);
    else t.regex(outcome.output, says);
  });

for (const [title, text, message] of [
  ['a body that ends too early', 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok', 'unexpected EOF'],
  ['a chunk that ends too early', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nok', 'unexpected EOF'],
  [
    'a chunk without a size',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
    'invalid byte in chunk length',
  ],
] as const)
  test(`it cannot be told: ${title}`, async (t) => {
    const { port } = await raw(t, (socket) => socket.end(text));
    const error = await t.throwsAsync(probeHttp({ ...base, port }), { name: 'ProbeError', message });
    t.is((error as unknown as { state: string }).state, 'failure');
  });

test('time runs out: before an answer, before a head, within a body', async (t) => {
  for (const [text, says] of [
    ['', 'context deadline exceeded (Client.Timeout exceeded while awaiting headers)'],
    ['HTTP/1.1 200 OK\r\n', 'context deadline exceeded (Client.Timeout exceeded while awaiting headers)'],
  ]) {
    const { port } = await raw(t, (socket) => void socket.write(text!));
    t.deepEqual(await probeHttp({ ...base, port, timeoutMs: 100 }), {
      result: 'failure',
      output: `Get "http://127.0.0.1:${port}/": ${says}`,
    });
  }
  const { port } = await raw(t, (socket) => void socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok'));
  // Long enough for the head, on a busy machine too.
  await t.throwsAsync(probeHttp({ ...base, port, timeoutMs: 2500 }), {
    message: 'context deadline exceeded (Client.Timeout or context cancellation while reading body)',
  });
});

test('a body without end is cut at 10 KiB, and the connection is left', async (t) => {
  let left = false;
  const { port } = await raw(t, (socket) => {
    socket.write('HTTP/1.1 200 OK\r\n\r\n');
    const more = () => socket.writable && socket.write('x'.repeat(4096), () => setImmediate(more));
    more();
    socket.on('close', () => {
      left = true;
    });
  });
  const { result, output } = await probeHttp({ ...base, port });
  t.is(result, 'success');
  t.is(output.length, 10 * 1024);
  await eventually('the connection is left', () => left);
});

test('headers without end are cut off', async (t) => {
  const { port } = await raw(t, (socket) => {
    const more = () => socket.writable && socket.write(`X: ${'x'.repeat(60_000)}\r\n`, () => setImmediate(more));
    socket.write('HTTP/1.1 200 OK\r\n');
    more();
  });
  const { result, output } = await probeHttp({ ...base, port });
  t.is(result, 'failure');
  t.regex(output, /server response headers exceeded 1048576 bytes; aborted/);
});

test('what is sent', async (t) => {
  const { port, seen } = await raw(t, (socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'));
  await probeHttp({ ...base, port, path: 'healthz?full=1#part' });
  t.is(
    seen.pop(),
    `GET /healthz?full=1 HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nUser-Agent: kube-probe/1.36\r\nAccept: */*\r\nConnection: close\r\n\r\n`,
  );
  await probeHttp({
    ...base,
    port,
    headers: [
      { name: 'host', value: 'shop.example' },
      { name: 'User-Agent', value: '' },
      { name: 'accept', value: '' },
      { name: 'X-A', value: '1' },
      { name: 'X-A', value: '2' },
      { name: 'X-Umlaut', value: 'ü' },
      { name: 'X-Empty', value: '' },
      { name: 'Content-Length', value: '7' },
    ],
  });
  t.is(
    seen.pop(),
    'GET / HTTP/1.1\r\nHost: shop.example\r\nX-A: 1\r\nX-A: 2\r\nX-Umlaut: ü\r\nX-Empty: \r\nConnection: close\r\n\r\n',
  );
});

test('a header cannot break out of its line', async (t) => {
  const { port, seen } = await raw(t, (socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'));
  for (const header of [
    { name: 'X', value: 'a\r\nEvil: 1' },
    { name: 'X: 1\r\nEvil', value: '1' },
    { name: '', value: '1' },
  ]) {
    const { result, output } = await probeHttp({ ...base, port, headers: [header] });
    t.is(result, 'failure');
    t.regex(output, /net\/http: invalid header field (name|value)/);
  }
  t.deepEqual(seen, []);
});

test('the request target', (t) => {
  for (const [path, target] of [
    ['', '/'],
    ['a', '/a'],
    ['/a/../b', '/a/../b'],
    ['/a b?c d', '/a%20b?c%20d'],
    ['/a%20b', '/a%20b'],
    ['/a%zz?b', '/a%25zz%3Fb'],
    ['/ü', '/%C3%BC'],
    ['/a\r\nEvil: 1', '/a%0D%0AEvil:%201'],
    ['/a#b', '/a'],
    ['/?q=a%zz', '/?q=a%zz'],
  ])
    t.is(requestTarget(path!), target!);
  t.notRegex(
    formatRequest({
      target: '/',
      authority: 'x',
      headers: [{ name: 'Connection', value: 'Upgrade' }],
      userAgent: 'u',
      keepsHost: true,
      referer: undefined,
    }),
    /close/,
  );
});

/** Redirects `/?<status>,<location>`; says who asked with what. */
async function redirecting(t: ExecutionContext) {
  const server = createHttp((request, response) => {
    const [, status, location] = /\?(\d+),(.*)/.exec(request.url!) ?? [];
    if (status)
      return void response
        .writeHead(Number(status), location ? { location: decodeURIComponent(location) } : {})
        .end('moved');
    response.end(JSON.stringify({ url: request.url, host: request.headers.host, referer: request.headers.referer }));
  });
  return listen(t, server);
}

test('redirects: relative ones and other ports of the same host are followed, and nothing else', async (t) => {
  const port = await redirecting(t);
  const other = await redirecting(t);
  const headers = [{ name: 'Host', value: 'shop.example' }];
  const probe = (status: number, location = '') =>
    probeHttp({ ...base, port, headers, path: `/?${status},${encodeURIComponent(location)}` });
  for (const status of [301, 302, 303, 307, 308]) {
    const { result, output } = await probe(status, '/fine');
    t.is(result, 'success', String(status));
    t.like(JSON.parse(output), { url: '/fine', host: 'shop.example' });
  }
  const absolute = await probe(302, `http://127.0.0.1:${other}/there`);
  t.like(JSON.parse(absolute.output), { url: '/there', host: `127.0.0.1:${other}` });
  t.regex(JSON.parse(absolute.output).referer, /^http:\/\/127\.0\.0\.1:\d+\/\?302/);
  for (const [status, location] of [
    [302, 'http://example.invalid/'],
    [302, `http://localhost:${other}/`],
    [302, '//example.invalid/'],
    [302, ''],
    [300, '/fine'],
    [304, '/fine'],
    [305, '/fine'],
  ] as const) {
    const { result, output } = await probe(status, location);
    t.is(result, 'warning', `${status} ${location}`);
    t.regex(output, /^Probe terminated redirects, Response body: (moved)?$/);
  }
  for (const location of ['ftp://127.0.0.1/', 'http://[/', 'javascript:1']) {
    const { result, output } = await probe(302, location);
    t.is(result, 'failure', location);
    t.regex(output, /failed to follow Location header/);
  }
  t.is((await probe(302, '/?404,')).output, 'HTTP probe failed with statuscode: 404');
});

test('redirects: nine are followed, the tenth is not', async (t) => {
  const port = await redirecting(t);
  const chain = (left: number): string => (left === 0 ? '/end' : `/?302,${encodeURIComponent(chain(left - 1))}`);
  t.is((await probeHttp({ ...base, port, path: chain(9) })).result, 'success');
  t.deepEqual(await probeHttp({ ...base, port, path: chain(10) }), {
    result: 'failure',
    output: 'Get "/end": stopped after 10 redirects',
  });
});

test('TLS: any certificate, whatever name; a redirect between the schemes; HTTP where HTTPS is meant and the reverse', async (t) => {
  const validity = { days: 1, nowMs: Date.now() };
  const authority = await createCertificateAuthority({ commonName: 'test', ...validity });
  const { certPem, keyPem } = await issueCertificate(authority, {
    commonName: 'other',
    dnsNames: ['other'],
    usages: ['server'],
    ...validity,
  });
  const tls = createHttps({ cert: certPem, key: keyPem }, (request, response) => response.end(`tls ${request.url}`));
  const tlsPort = await listen(t, tls);
  const plain = createHttp((_, response) =>
    response.writeHead(302, { location: `https://127.0.0.1:${tlsPort}/safe` }).end(),
  );
  const port = await listen(t, plain);
  t.deepEqual(await probeHttp({ ...base, scheme: 'HTTPS', port: tlsPort }), { result: 'success', output: 'tls /' });
  t.deepEqual(await probeHttp({ ...base, port }), { result: 'success', output: 'tls /safe' });
  t.deepEqual(await probeHttp({ ...base, scheme: 'HTTPS', port }), {
    result: 'failure',
    output: `Get "https://127.0.0.1:${port}/": http: server gave HTTP response to HTTPS client`,
  });
  t.is((await probeHttp({ ...base, port: tlsPort, timeoutMs: 500 })).result, 'failure');
});

test('IPv6', async (t) => {
  const server = createHttp((request, response) => response.end(request.headers.host));
  const port = await listen(t, server, '::1');
  for (const host of ['::1', '[::1]'])
    t.deepEqual(await probeHttp({ ...base, host, port }), { result: 'success', output: `[::1]:${port}` });
});

test('nobody there: refused, unknown name', async (t) => {
  const closed = createTcp();
  const gone = await new Promise<number>((resolve) =>
    closed.listen(0, '127.0.0.1', () => resolve((closed.address() as AddressInfo).port)),
  );
  await new Promise((resolve) => closed.close(resolve));
  t.deepEqual(await probeHttp({ ...base, port: gone }), {
    result: 'failure',
    output: `Get "http://127.0.0.1:${gone}/": dial tcp 127.0.0.1:${gone}: connect: connection refused`,
  });
  const reset = await raw(t, (socket) => socket.resetAndDestroy());
  t.regex((await probeHttp({ ...base, port: reset.port })).output, /read: connection reset by peer$/);
  t.is((await probeHttp({ ...base, port: gone, host: 'no such name' })).result, 'failure');
});

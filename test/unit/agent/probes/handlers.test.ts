import { createServer as createHttp, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createHttp2 } from 'node:http2';
import { createServer as createHttps } from 'node:https';
import { type AddressInfo, createServer as createTcp, type Server } from 'node:net';
import test from 'ava';
import { encodeHealthRequest, probeGrpc } from '../../../../agent/probes/grpc.ts';
import { probeHttp } from '../../../../agent/probes/http.ts';
import { createProber } from '../../../../agent/probes/prober.ts';
import { probeSettings, resolvePort } from '../../../../agent/probes/settings.ts';
import { probeTcp } from '../../../../agent/probes/tcp.ts';
import { createCertificateAuthority, issueCertificate } from '../../../../src/auth/authority.ts';
import type { Container } from '../../../../src/kube/types.ts';
import { podOf } from '../pod.ts';

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}
const handler = (request: IncomingMessage, response: ServerResponse) => {
  const url = new URL(request.url!, 'http://x');
  const status = Number(url.searchParams.get('status') ?? 200);
  const to = url.searchParams.get('to');
  if (url.pathname === '/slow') return;
  if (url.pathname === '/loop') return void response.writeHead(302, { location: '/loop' }).end();
  if (url.pathname === '/big') return void response.end('x'.repeat(100_000));
  response.writeHead(status, to ? { location: to } : {});
  response.end(JSON.stringify(request.headers));
};
const base = {
  scheme: 'HTTP',
  host: '127.0.0.1',
  path: '/',
  headers: [],
  timeoutMs: 20_000,
  userAgent: 'kube-probe/1.36',
} as const;

test('http: status codes', async (t) => {
  const server = createHttp(handler);
  const port = await listen(server);
  for (const [status, result] of [
    [200, 'success'],
    [204, 'success'],
    [304, 'warning'],
    [400, 'failure'],
    [503, 'failure'],
  ] as const) {
    const outcome = await probeHttp({ ...base, port, path: `/a?status=${status}` });
    t.is(outcome.result, result, String(status));
    if (result === 'failure') t.is(outcome.output, `HTTP probe failed with statuscode: ${status}`);
  }
  server.close();
});

test('http: redirects, timeout, refused, long bodies', async (t) => {
  const server = createHttp(handler);
  const port = await listen(server);
  const probe = (path: string) => probeHttp({ ...base, port, path });
  t.is((await probe('/?status=302&to=/fine')).result, 'success');
  t.is((await probe('/?status=302&to=http://example.invalid/')).result, 'warning');
  t.regex((await probe('/loop')).output, /stopped after 10 redirects/);
  t.is((await probe('/big')).output.length, 10 * 1024);
  const slow = await probeHttp({ ...base, port, path: '/slow', timeoutMs: 300 });
  t.is(
    slow.output,
    `Get "http://127.0.0.1:${port}/slow": context deadline exceeded (Client.Timeout exceeded while awaiting headers)`,
  );
  server.closeAllConnections();
  server.close();
  const refused = await probe('/x');
  t.deepEqual(refused, {
    result: 'failure',
    output: `Get "http://127.0.0.1:${port}/x": dial tcp 127.0.0.1:${port}: connect: connection refused`,
  });
});

test('http: headers of the user win, empty ones remove, Host is honoured', async (t) => {
  const server = createHttp(handler);
  const port = await listen(server);
  const seen = async (headers: { name: string; value: string }[]) =>
    JSON.parse((await probeHttp({ ...base, port, headers })).output) as Record<string, string>;
  t.like(await seen([]), {
    'user-agent': 'kube-probe/1.36',
    accept: '*/*',
    host: `127.0.0.1:${port}`,
    connection: 'close',
  });
  const own = await seen([
    { name: 'Host', value: 'shop' },
    { name: 'User-Agent', value: 'me' },
    { name: 'Accept', value: '' },
    { name: 'X-A', value: '1' },
  ]);
  t.like(own, { host: 'shop', 'user-agent': 'me', 'x-a': '1' });
  t.false('accept' in own);
  server.close();
});

test('https: any certificate will do', async (t) => {
  const validity = { days: 1, nowMs: Date.now() };
  const authority = await createCertificateAuthority({ commonName: 'test', ...validity });
  const request = { commonName: 'other', dnsNames: ['other'], usages: ['server'] as const, ...validity };
  const { certPem, keyPem } = await issueCertificate(authority, request);
  const server = createHttps({ cert: certPem, key: keyPem }, handler);
  const port = await listen(server);
  t.is((await probeHttp({ ...base, scheme: 'HTTPS', port })).result, 'success');
  server.closeAllConnections();
  server.close();
});

test('tcp', async (t) => {
  const server = createTcp((socket) => socket.end());
  const port = await listen(server);
  t.is((await probeTcp('127.0.0.1', port, 20_000)).result, 'success');
  server.close();
  t.deepEqual(await probeTcp('127.0.0.1', port, 20_000), {
    result: 'failure',
    output: `dial tcp 127.0.0.1:${port}: connect: connection refused`,
  });
});

test('grpc', async (t) => {
  let reply = { status: 1, code: '0' };
  const services: string[] = [];
  const server = createHttp2((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      services.push(Buffer.concat(chunks).subarray(7).toString());
      response.writeHead(200, { 'content-type': 'application/grpc' });
      response.addTrailers({ 'grpc-status': reply.code });
      response.end(Buffer.from([0, 0, 0, 0, 2, 8, reply.status]));
    });
  });
  const port = await listen(server as unknown as Server);
  const probe = () => probeGrpc('127.0.0.1', port, 'db', 20_000, 'kube-probe/1.36');
  t.deepEqual(await probe(), { result: 'success', output: 'service healthy' });
  reply = { status: 2, code: '0' };
  t.deepEqual(await probe(), { result: 'failure', output: 'service unhealthy (responded with "NOT_SERVING")' });
  reply = { status: 0, code: '12' };
  t.regex((await probe()).output, /does not implement the grpc health protocol/);
  t.deepEqual(services, ['db', 'db', 'db']);
  server.close();
  const refused = await probe();
  t.is(refused.result, 'failure');
  t.regex(
    refused.output,
    /^error: failed to connect service at "127\.0\.0\.1:\d+": dial tcp 127\.0\.0\.1:\d+: connect: connection refused$/,
  );
  t.is(encodeHealthRequest('').length, 0);
});

test('grpc: servers that speak something else', async (t) => {
  for (const [answer, says] of [
    [{ status: 404, body: '<html>' }, /no grpc-status, HTTP status 404/],
    [{ status: 200, headers: { 'grpc-status': '14', 'grpc-message': '100%' } }, /code = 14 desc = 100%$/],
    [{ status: 200, body: 'x'.repeat(20_000) }, /too long/],
  ] as [{ status: number; headers?: Record<string, string>; body?: string }, RegExp][]) {
    const server = createHttp2((_, response) => {
      response.writeHead(answer.status, answer.headers ?? {});
      response.end(answer.body ?? '');
    });
    const port = await listen(server as unknown as Server);
    const { result, output } = await probeGrpc('127.0.0.1', port, '', 20_000, 'kube-probe/1.36');
    t.is(result, 'failure');
    t.regex(output, says);
    server.close();
  }
  const plain = createHttp((_, response) => response.end('hello'));
  const port = await listen(plain);
  t.is((await probeGrpc('127.0.0.1', port, '', 20_000, 'x')).result, 'failure');
  plain.closeAllConnections();
  plain.close();
  const silent = createTcp(() => {});
  const silentPort = await listen(silent);
  t.regex((await probeGrpc('127.0.0.1', silentPort, '', 100, 'x')).output, /^timeout: .* within 0\.1s/);
  silent.close();
});

const container = {
  name: 'app',
  ports: [{ name: 'web', containerPort: 8080 }],
  livenessProbe: { exec: { command: ['sh', '-c', 'exit 3'] }, timeoutSeconds: 2 },
} as Container;

test('ports by number and name', (t) => {
  t.is(resolvePort(80, container), 80);
  t.is(resolvePort('80', container), 80);
  t.is(resolvePort('web', container), 8080);
  t.throws(() => resolvePort('nope', container), { message: "couldn't find port: nope in container app" });
  t.throws(() => resolvePort(70000, container), { message: 'invalid port number: 70000' });
});

test('defaults', (t) => {
  t.like(probeSettings({ ...container, readinessProbe: {} }, 'readiness'), {
    initialDelayMs: 0,
    periodMs: 10_000,
    timeoutMs: 1000,
    successThreshold: 1,
    failureThreshold: 3,
  });
  t.is(probeSettings(container, 'startup'), undefined);
});

test('exec: exit codes, timeout, trouble of the runtime', async (t) => {
  const settings = probeSettings(container, 'liveness')!;
  const target = { pod: podOf(), container, containerId: 'c', podIp: '127.0.0.1' };
  const probe = (exec: () => Promise<{ exitCode: number; output: string }>) =>
    createProber({ exec: { exec }, userAgent: 'x' })(settings, target);
  t.deepEqual(await probe(async () => ({ exitCode: 0, output: 'ok' })), { result: 'success', output: 'ok' });
  t.deepEqual(await probe(async () => ({ exitCode: 3, output: 'no' })), { result: 'failure', output: 'no' });
  const timeout = await probe(async () => {
    throw new DOMException('late', 'TimeoutError');
  });
  t.deepEqual(timeout, { result: 'failure', output: 'command "sh -c exit 3" timed out after 2s' });
  await t.throwsAsync(
    probe(async () => {
      throw new Error('no such container');
    }),
    { message: 'no such container' },
  );
});

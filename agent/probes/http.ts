import { connect, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { HTTPHeader } from '../../src/kube/types.ts';
import { formatRequest, requestTarget } from './http-request.ts';
import { type HttpResponse, HttpResponseReader, MalformedResponse } from './http-response.ts';
import { describeDial, hostPort, MAX_OUTPUT_BYTES, ProbeError, type ProbeOutcome } from './outcome.ts';

export interface HttpProbe {
  scheme: 'HTTP' | 'HTTPS';
  host: string;
  port: number;
  /** With its query, if it has one. */
  path: string;
  headers: readonly HTTPHeader[];
  timeoutMs: number;
  userAgent: string;
}

const MOST_REDIRECTS = 10;
/** What Go's client follows; the other 3xx are answers. */
const REDIRECTS = new Set([301, 302, 303, 307, 308]);

interface Target {
  isTls: boolean;
  /** Without brackets. */
  host: string;
  port: number;
  /** Path and query as the request line has them. */
  path: string;
}

/**
 * GET over a connection of its own; 200…399 is success. Redirects are followed on the same host only, certificates are not verified, proxies
 * not asked. An HTTP/1.1 client of the few lines that this needs: with the general one a probe costs twice as much.
 *
 * @throws ProbeError when the answer began well and its body broke off: it cannot be told how the container is.
 */
export async function probeHttp(probe: HttpProbe): Promise<ProbeOutcome> {
  const first: Target = {
    isTls: probe.scheme === 'HTTPS',
    host: probe.host.replace(/^\[(.*)\]$/, '$1'),
    port: probe.port,
    path: requestTarget(probe.path),
  };
  const deadlineMs = performance.now() + probe.timeoutMs;
  let target = first;
  /** The user's Host goes with relative redirects only. */
  let keepsHost = true;
  let referer: string | undefined;
  for (let requests = 1; ; requests++) {
    const url = urlOf(target);
    let response: HttpResponse;
    try {
      const request = formatRequest({
        ...probe,
        target: target.path,
        authority: authorityOf(target),
        keepsHost,
        referer,
      });
      response = await exchange(target, request, deadlineMs - performance.now());
    } catch (error) {
      if (error instanceof ProbeError) throw error;
      return { result: 'failure', output: `Get ${JSON.stringify(url)}: ${(error as Error).message}` };
    }
    const { status, location } = response;
    const body = response.body.toString();
    if (status < 200 || status >= 400)
      return { result: 'failure', output: `HTTP probe failed with statuscode: ${status}` };
    if (status < 300) return { result: 'success', output: body };
    const stopped: ProbeOutcome = { result: 'warning', output: `Probe terminated redirects, Response body: ${body}` };
    if (!REDIRECTS.has(status) || location === undefined) return stopped;
    const next = URL.parse(location, url);
    if (!next || (next.protocol !== 'http:' && next.protocol !== 'https:'))
      return { result: 'failure', output: `Get ${JSON.stringify(location)}: failed to follow Location header` };
    if (next.hostname !== new URL(urlOf(first)).hostname) return stopped;
    if (requests >= MOST_REDIRECTS)
      return {
        result: 'failure',
        output: `Get ${JSON.stringify(location)}: stopped after ${MOST_REDIRECTS} redirects`,
      };
    keepsHost = !URL.canParse(location);
    referer = target.isTls && next.protocol === 'http:' ? undefined : url;
    target = {
      isTls: next.protocol === 'https:',
      host: first.host,
      port: Number(next.port || (next.protocol === 'https:' ? 443 : 80)),
      path: next.pathname + next.search,
    };
  }
}

function authorityOf({ host, port, isTls }: Target): string {
  const authority = hostPort(host, port);
  return port === (isTls ? 443 : 80) ? authority.slice(0, authority.lastIndexOf(':')) : authority;
}

function urlOf({ isTls, host, port, path }: Target): string {
  return `${isTls ? 'https' : 'http'}://${hostPort(host, port)}${path}`;
}

/** All sockets read into this one: what it holds is used up before the next read. */
const readBuffer = Buffer.allocUnsafe(16 << 10);

/** One request, one connection, one answer. @throws Error in the words of Go's client, ProbeError when the body broke off. */
function exchange(target: Target, request: string, timeoutMs: number): Promise<HttpResponse> {
  const { host, port, isTls } = target;
  return new Promise((resolve, reject) => {
    const reader = new HttpResponseReader(MAX_OUTPUT_BYTES);
    let isConnected = false;
    let isOver = false;
    let socket: Socket;
    const settle = (end: () => void) => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      socket?.destroy();
      end();
    };
    const fail = (message: string) =>
      settle(() => reject(reader.hasHead ? new ProbeError('failure', message) : new Error(message)));
    const read = (get: () => HttpResponse | undefined) => {
      if (isOver) return;
      try {
        const response = get();
        if (response) settle(() => resolve(response));
      } catch (error) {
        const { message } = error as Error;
        // A TLS record begins where a status line should.
        if (isTls && message === 'http: server gave HTTP response to HTTPS client') fail(message);
        else
          fail(
            error instanceof MalformedResponse ? `net/http: HTTP/1.x transport connection broken: ${message}` : message,
          );
      }
    };
    const timer = setTimeout(
      () => {
        const cause = reader.hasHead
          ? 'context deadline exceeded (Client.Timeout or context cancellation while reading body)'
          : isConnected
            ? 'context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
            : `dial tcp ${hostPort(host, port)}: i/o timeout (Client.Timeout exceeded while awaiting headers)`;
        fail(cause);
      },
      Math.max(0, timeoutMs),
    );
    const onConnect = () => {
      isConnected = true;
    };
    try {
      if (isTls) {
        socket = connectTls(
          { host, port, rejectUnauthorized: false, ciphers: 'DEFAULT:@SECLEVEL=0', ...sni(host) },
          onConnect,
        );
        socket.on('data', (chunk: Buffer) => read(() => reader.push(chunk)));
      } else {
        const onread = {
          buffer: readBuffer,
          callback(bytes: number) {
            read(() => reader.push(readBuffer.subarray(0, bytes)));
            return !isOver;
          },
        };
        socket = connect({ host, port, autoSelectFamily: false, onread }, onConnect);
      }
    } catch (error) {
      fail((error as Error).message);
      return;
    }
    socket.on('end', () => read(() => reader.end()));
    socket.on('error', (error) => fail(explain(error, host, port)));
    socket.write(request, 'latin1');
  });
}

/** An address is not a server name. */
function sni(host: string): { servername?: string } {
  return isIP(host) ? {} : { servername: host };
}

function explain(error: NodeJS.ErrnoException, host: string, port: number): string {
  const isPlain =
    error.code === 'EPROTO' ||
    error.code === 'ERR_SSL_WRONG_VERSION_NUMBER' ||
    error.code === 'ERR_SSL_PACKET_LENGTH_TOO_LONG';
  return isPlain ? 'http: server gave HTTP response to HTTPS client' : describeDial(error, hostPort(host, port));
}

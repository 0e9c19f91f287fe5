import { type IncomingMessage, request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import type { HTTPHeader } from '../../src/kube/types.ts';
import { describeDial, hostPort, MAX_OUTPUT_BYTES, type ProbeOutcome } from './outcome.ts';

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

/** GET; 200…399 is success. Redirects are followed on the same host only. TLS certificates are not verified. */
export async function probeHttp(probe: HttpProbe): Promise<ProbeOutcome> {
  const authority = probe.host.includes(':') ? `[${probe.host}]` : probe.host;
  const path = probe.path.startsWith('/') ? probe.path : `/${probe.path}`;
  const first = new URL(`${probe.scheme.toLowerCase()}://${authority}:${probe.port}${path}`);
  const { headers, host } = headersOf(probe);
  const signal = AbortSignal.timeout(probe.timeoutMs);
  let url = first;
  try {
    for (let redirects = 0; ; redirects++) {
      const { status, location, body } = await get(url, { ...headers, ...(host && { host }) }, signal);
      if (status < 200 || status >= 400)
        return { result: 'failure', output: `HTTP probe failed with statuscode: ${status}` };
      if (status < 300) return { result: 'success', output: body };
      const next = location === undefined ? undefined : URL.parse(location, url.href);
      if (!next || next.hostname !== first.hostname || status === 304)
        return { result: 'warning', output: `Probe terminated redirects, Response body: ${body}` };
      if (redirects + 1 >= MOST_REDIRECTS)
        return { result: 'failure', output: `Get "${next}": stopped after ${MOST_REDIRECTS} redirects` };
      url = next;
    }
  } catch (error) {
    return { result: 'failure', output: `Get "${url}": ${explain(error, url)}` };
  }
}

/** The user's headers win; an empty value removes a default one. Host is not an ordinary header. */
function headersOf({ headers, userAgent }: HttpProbe): { headers: Record<string, string | string[]>; host?: string } {
  const merged: Record<string, string | string[]> = {};
  for (const { name, value } of headers) {
    const key = name.toLowerCase();
    merged[key] = key in merged ? [merged[key]!, value].flat() : value;
  }
  const { host, ...rest } = merged;
  rest['user-agent'] ??= userAgent;
  rest.accept ??= '*/*';
  for (const key of ['user-agent', 'accept']) if (rest[key] === '') delete rest[key];
  return { headers: { ...rest, connection: 'close' }, ...(host && { host: [host].flat()[0] }) };
}

function get(
  url: URL,
  headers: Record<string, string | string[]>,
  signal: AbortSignal,
): Promise<{ status: number; location: string | undefined; body: string }> {
  const send = url.protocol === 'https:' ? requestHttps : requestHttp;
  return new Promise((resolve, reject) => {
    // No agent: every probe is a new connection, as a client of the container would make it.
    const request = send(url, { headers, signal, agent: false, rejectUnauthorized: false }, (response) => {
      readBody(response).then(
        (body) => resolve({ status: response.statusCode ?? 0, location: response.headers.location, body }),
        reject,
      );
    });
    // More than one may come: leaving a long body breaks the connection.
    request.on('error', reject);
    request.end();
  });
}

async function readBody(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    length += chunk.length;
    // Leaving the loop destroys the response.
    if (length >= MAX_OUTPUT_BYTES) break;
  }
  return Buffer.concat(chunks).subarray(0, MAX_OUTPUT_BYTES).toString();
}

function explain(error: unknown, url: URL): string {
  const { code, name, message } = error as NodeJS.ErrnoException;
  if (name === 'TimeoutError' || name === 'AbortError')
    return 'context deadline exceeded (Client.Timeout exceeded while awaiting headers)';
  if (code?.startsWith('HPE_')) return `net/http: HTTP/1.x transport connection broken: ${message}`;
  const port = Number(url.port || (url.protocol === 'https:' ? 443 : 80));
  return code === 'EPROTO'
    ? 'http: server gave HTTP response to HTTPS client'
    : describeDial(error, hostPort(url.hostname, port));
}

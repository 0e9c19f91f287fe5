import { connect } from 'node:http2';
import { Agent, request as httpsRequest } from 'node:https';
import type { CertificatePair } from '../../src/auth/authority.ts';

export interface RawRequest {
  method?: string;
  path: string;
  headers?: Record<string, string>;
  /** Objects are sent as JSON. */
  body?: object | string | Buffer;
}

export interface RawAnswer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: Buffer;
  text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into whatever came back
  json: any;
}

export interface RawClient {
  send(request: RawRequest): Promise<RawAnswer>;
  /** Sends, and hands over lines as they come. */
  lines(path: string, headers?: Record<string, string>): LineReader;
  close(): void;
}

export interface LineReader {
  /** The next line as JSON; rejects after 5 s. `undefined`: the stream ended. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into whatever came back
  next(): Promise<any>;
  status(): Promise<number>;
  close(): void;
}

interface Target {
  url: string;
  caPem: string;
}

/** HTTP as it is on the wire, over one HTTP/2 connection or over HTTP/1.1. */
export function createRawClient(target: Target, options: { http: 1 | 2; pair?: CertificatePair }): RawClient {
  const tls = { ca: target.caPem, cert: options.pair?.certPem, key: options.pair?.keyPem };
  return options.http === 2 ? http2Client(target, tls) : http1Client(target, tls);
}

type Tls = { ca: string; cert?: string | undefined; key?: string | undefined };

function bytesOf(request: RawRequest): Buffer | undefined {
  if (request.body === undefined || Buffer.isBuffer(request.body)) return request.body as Buffer | undefined;
  return Buffer.from(typeof request.body === 'string' ? request.body : JSON.stringify(request.body));
}

function headersOf(request: RawRequest): Record<string, string> {
  const json = request.body !== undefined && typeof request.body === 'object' && !Buffer.isBuffer(request.body);
  return { ...(json ? { 'content-type': 'application/json' } : {}), ...request.headers };
}

function answerOf(status: number, headers: RawAnswer['headers'], chunks: Buffer[]): RawAnswer {
  const body = Buffer.concat(chunks);
  const text = body.toString();
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {}
  return { status, headers, body, text, json };
}

function http2Client({ url }: Target, tls: Tls): RawClient {
  const session = connect(url, tls);
  session.on('error', () => {});
  const open = (request: RawRequest) => {
    const bytes = bytesOf(request);
    const stream = session.request(
      { ':method': request.method ?? 'GET', ':path': request.path, ...headersOf(request) },
      { endStream: bytes === undefined },
    );
    if (bytes) stream.end(bytes);
    return stream;
  };
  return {
    send: (request) =>
      new Promise((resolve, reject) => {
        const stream = open(request);
        const chunks: Buffer[] = [];
        let headers: Record<string, unknown> = {};
        stream.on('response', (received) => {
          headers = received;
        });
        stream.on('data', (chunk) => chunks.push(chunk));
        stream.on('end', () => resolve(answerOf(Number(headers[':status']), headers as RawAnswer['headers'], chunks)));
        stream.on('error', reject);
      }),
    lines(path, headers) {
      const stream = open({ path, headers: headers ?? {} });
      const status = new Promise<number>((resolve, reject) => {
        stream.once('response', (received) => resolve(Number(received[':status'])));
        stream.once('error', reject);
      });
      return lineReader(stream, status, () => stream.close());
    },
    close: () => session.destroy(),
  };
}

function http1Client({ url }: Target, tls: Tls): RawClient {
  const agent = new Agent({ ...tls, keepAlive: true });
  const open = (request: RawRequest) => {
    const outgoing = httpsRequest(`${url}${request.path}`, {
      method: request.method ?? 'GET',
      headers: headersOf(request),
      agent,
    });
    outgoing.end(bytesOf(request));
    return outgoing;
  };
  return {
    send: (request) =>
      new Promise((resolve, reject) => {
        const outgoing = open(request);
        outgoing.once('error', reject);
        outgoing.once('response', (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk) => chunks.push(chunk));
          response.on('end', () => resolve(answerOf(response.statusCode ?? 0, response.headers, chunks)));
          response.on('error', reject);
        });
      }),
    lines(path, headers) {
      const outgoing = open({ path, headers: headers ?? {} });
      outgoing.on('error', () => {});
      const status = new Promise<number>((resolve, reject) => {
        outgoing.once('response', (response) => resolve(response.statusCode ?? 0));
        outgoing.once('error', reject);
      });
      const queue = lineQueue();
      outgoing.once('response', (response) => queue.read(response));
      return { ...queue.reader, status: () => status, close: () => outgoing.destroy() };
    },
    close: () => agent.destroy(),
  };
}

function lineReader(stream: NodeJS.ReadableStream, status: Promise<number>, close: () => void): LineReader {
  const queue = lineQueue();
  queue.read(stream);
  return { ...queue.reader, status: () => status, close };
}

function lineQueue() {
  const ready: unknown[] = [];
  const waiting: ((line: unknown) => void)[] = [];
  let ended = false;
  const push = (line: unknown) => {
    const taker = waiting.shift();
    if (taker) taker(line);
    else ready.push(line);
  };
  const end = () => {
    ended = true;
    for (const taker of waiting.splice(0)) taker(undefined);
  };
  return {
    read(stream: NodeJS.ReadableStream) {
      let rest = '';
      stream.on('data', (chunk) => {
        const parts = (rest + chunk).split('\n');
        rest = parts.pop() ?? '';
        for (const part of parts) push(JSON.parse(part));
      });
      stream.on('end', end);
      stream.on('error', end);
      stream.on('close', end);
    },
    reader: {
      next: () =>
        new Promise<unknown>((resolve, reject) => {
          if (ready.length > 0) return resolve(ready.shift());
          if (ended) return resolve(undefined);
          const timer = setTimeout(() => reject(new Error('no line in a minute')), 60_000);
          waiting.push((line) => {
            clearTimeout(timer);
            resolve(line);
          });
        }),
    },
  };
}

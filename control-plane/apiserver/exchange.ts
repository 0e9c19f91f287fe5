import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import type { Duplex } from 'node:stream';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { stringify } from 'yaml';
import type { OutputFormat } from './media-type.ts';
import { type StatusError, timeout, tooLarge } from './status-error.ts';

export type HttpRequest = IncomingMessage | Http2ServerRequest;
export type HttpResponse = ServerResponse | Http2ServerResponse;

export interface Upgrade {
  readonly socket: Duplex;
  /** What came behind the request already. */
  readonly head: Buffer;
}

/** Answers from this size on are compressed for clients that accept it, as upstream does. */
const GZIP_FROM_BYTES = 128 * 1024;
/** Bodies above it are refused with 413; also the limit of what a patch may grow to. */
export const BODY_LIMIT_BYTES = 3 * 1024 * 1024;

const compress = promisify(gzip);

/** One request and its answer, the same for HTTP/1.1 and HTTP/2. */
export class Exchange {
  readonly request: HttpRequest;
  readonly response: HttpResponse;
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  /** Set when the client asks for another protocol on its connection. */
  readonly upgrade: Upgrade | undefined;
  readonly #warnings: string[] = [];
  #abort: AbortController | undefined;

  constructor(request: HttpRequest, response: HttpResponse, upgrade?: Upgrade) {
    this.upgrade = upgrade;
    this.request = request;
    this.response = response;
    this.method = request.method ?? 'GET';
    const url = request.url ?? '/';
    const mark = url.indexOf('?');
    this.path = mark < 0 ? url : url.slice(0, mark);
    this.query = new URLSearchParams(mark < 0 ? '' : url.slice(mark + 1));
  }

  header(name: string): string | undefined {
    const value = this.request.headers[name];
    return Array.isArray(value) ? value.join(',') : value;
  }

  /** Aborts when the client has left. */
  get signal(): AbortSignal {
    if (!this.#abort) {
      const abort = new AbortController();
      this.#abort = abort;
      if (this.gone) abort.abort();
      else this.response.once('close', () => abort.abort());
    }
    return this.#abort.signal;
  }

  /** True when the client has left: whatever is sent goes nowhere. */
  get gone(): boolean {
    const { response } = this;
    return 'stream' in response ? (response.stream?.destroyed ?? true) : response.destroyed;
  }

  get started(): boolean {
    return this.response.headersSent;
  }

  /** Adds a `Warning` header to the answer; the text is cut and stripped of what a header can't carry. */
  warn(text: string): void {
    const line = text.replaceAll(/[^\x20-\x7e]/g, ' ').slice(0, 400);
    if (this.#warnings.length < 30 && !this.#warnings.includes(line)) this.#warnings.push(line);
  }

  /** The whole body. Throws 413 above the limit and 504 when it does not come in time. */
  readBody(timeoutMs: number): Promise<Buffer> {
    const { request } = this;
    if (Number(request.headers['content-length'] ?? 0) > BODY_LIMIT_BYTES) return Promise.reject(bodyTooLarge());
    return new Promise((resolve, reject) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      const timer = setTimeout(() => reject(timeout('the request body did not arrive in time')), timeoutMs);
      const settle = (act: () => void) => {
        clearTimeout(timer);
        act();
      };
      request.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes <= BODY_LIMIT_BYTES) chunks.push(chunk);
        else settle(() => reject(bodyTooLarge()));
      });
      request.once('end', () => settle(() => resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks))));
      request.once('error', (error) => settle(() => reject(error)));
      request.once('close', () => settle(() => reject(new Error('the client left'))));
    });
  }

  /** Sends a JSON text in the asked encoding. */
  async sendJson(code: number, text: string, format?: Pick<OutputFormat, 'encoding'>, contentType?: string) {
    if (format?.encoding === 'yaml') return this.send(code, yamlText(text), 'application/yaml');
    if (this.query.has('pretty') && this.query.get('pretty') !== 'false')
      return this.send(code, `${JSON.stringify(JSON.parse(text), null, 2)}\n`, contentType ?? 'application/json');
    return this.send(code, text, contentType ?? 'application/json');
  }

  async send(code: number, body: string | Buffer, contentType: string, headers: Record<string, string> = {}) {
    const { response } = this;
    if (response.headersSent || this.gone) return;
    let bytes = typeof body === 'string' ? Buffer.from(body) : body;
    const zip = bytes.length > GZIP_FROM_BYTES && /\bgzip\b/.test(this.header('accept-encoding') ?? '');
    if (zip) bytes = await compress(bytes, { level: 1 });
    if (this.gone) return;
    this.writeHead(code, {
      ...headers,
      'content-type': contentType,
      'content-length': String(bytes.length),
      ...(zip ? { 'content-encoding': 'gzip', vary: 'Accept-Encoding' } : {}),
    });
    if (this.method === 'HEAD') response.end();
    else response.end(bytes);
  }

  /** Starts an answer whose body follows; adds the headers that every answer has. */
  writeHead(code: number, headers: Record<string, string>): void {
    const all: Record<string, string | string[]> = {
      'cache-control': 'no-cache, private',
      'x-content-type-options': 'nosniff',
      ...headers,
    };
    if (this.#warnings.length > 0)
      all.warning = this.#warnings.map((text) => `299 - "${text.replaceAll(/["\\]/g, '\\$&')}"`);
    (this.response as ServerResponse).writeHead(code, all);
  }

  /** Sends an error as its Status. What was already started is cut off, so that nobody takes it for whole. */
  async sendError(error: StatusError): Promise<void> {
    if (this.started) {
      this.response.destroy();
      return;
    }
    const retryAfter = error.status.details?.retryAfterSeconds;
    await this.send(error.code, JSON.stringify(error.status), 'application/json', {
      ...(retryAfter ? { 'retry-after': String(retryAfter) } : {}),
      ...(error.code === 401 ? { 'www-authenticate': 'Bearer realm="kubernetes-master"' } : {}),
    });
    // What is left of an unread body must not be taken for the next request.
    if (!this.request.complete && this.request.httpVersionMajor === 1) this.request.socket?.destroySoon?.();
  }
}

const bodyTooLarge = () => tooLarge(`limit is ${BODY_LIMIT_BYTES}`);

function yamlText(json: string): string {
  return stringify(JSON.parse(json), { lineWidth: 0, aliasDuplicateObjects: false });
}

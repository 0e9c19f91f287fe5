/** Headers beyond this are no headers. */
const MAX_HEADER_BYTES = 1 << 20;
const LF = 0x0a;

export interface HttpResponse {
  status: number;
  location: string | undefined;
  /** Decoded, cut at the limit. */
  body: Buffer;
}

/** What a server sent is no HTTP/1.x; the message is Go's. */
export class MalformedResponse extends Error {
  override readonly name = 'MalformedResponse';
}

/**
 * Reads one HTTP/1.x response as far as a probe wants it: the status, where it redirects to, the first `maxBodyBytes` of the body. Fed with
 * what comes; returns the response as soon as it is all there, which may be before the server ends it.
 */
export class HttpResponseReader {
  readonly #maxBodyBytes: number;
  #pending: Buffer = Buffer.alloc(0);
  /** How far the head has been looked through. */
  #scanned = 0;
  #head: { status: number; location: string | undefined } | undefined;
  /** Bytes of the body that are still to come: 'chunked', or until the connection ends. */
  #rest: number | 'chunked' | 'end' = 'end';
  #chunkRest = 0;
  #afterChunk = false;
  #body: Buffer[] = [];
  #bodyBytes = 0;

  constructor(maxBodyBytes: number) {
    this.#maxBodyBytes = maxBodyBytes;
  }

  /** Whether the head has been read, so that what is missing is body. */
  get hasHead(): boolean {
    return this.#head !== undefined;
  }

  /** @param chunk is not kept. @throws MalformedResponse */
  push(chunk: Buffer): HttpResponse | undefined {
    this.#pending = this.#pending.length === 0 ? Buffer.from(chunk) : Buffer.concat([this.#pending, chunk]);
    while (!this.#head) if (!this.#readHead()) return undefined;
    return this.#readBody() ? this.#response() : undefined;
  }

  /** The server has ended the connection. @throws Error `EOF` when that was too early. */
  end(): HttpResponse {
    if (!this.#head) {
      if (this.#pending.length > 0) throw malformed(this.#firstLine());
      throw new Error('EOF');
    }
    if (this.#rest !== 'end') throw new Error('unexpected EOF');
    return this.#response();
  }

  #response(): HttpResponse {
    return { ...this.#head!, body: Buffer.concat(this.#body).subarray(0, this.#maxBodyBytes) };
  }

  #firstLine(): string {
    return this.#pending.toString('latin1').split(/\r?\n/, 1)[0]!.slice(0, 200);
  }

  #readHead(): boolean {
    const end = headEnd(this.#pending, this.#scanned);
    // The last bytes may be the beginning of the end.
    this.#scanned = Math.max(0, this.#pending.length - 3);
    if (end < 0) {
      // What does not begin like HTTP never will: TLS alerts, SSH banners.
      const start = this.#pending.subarray(0, 5).toString('latin1');
      if (!'HTTP/'.startsWith(start)) throw malformed(this.#firstLine());
      if (this.#pending.length > MAX_HEADER_BYTES)
        throw new MalformedResponse(`net/http: server response headers exceeded ${MAX_HEADER_BYTES} bytes; aborted`);
      return false;
    }
    const [statusLine, ...lines] = this.#pending.toString('latin1', 0, end).split(/\r?\n/);
    const [, code] = /^HTTP\/1\.[01] (\d{3})(?: .*)?$/.exec(statusLine!) ?? [];
    if (!code) throw malformed(statusLine!);
    this.#pending = this.#pending.subarray(end);
    this.#scanned = 0;
    const status = Number(code);
    // 100 Continue and its like come before the answer.
    if (status < 200 && status !== 101) return true;
    const header = (name: string) => {
      for (const line of lines) {
        const colon = line.indexOf(':');
        if (colon === name.length && line.slice(0, colon).toLowerCase() === name) return line.slice(colon + 1).trim();
      }
      return undefined;
    };
    const length = header('content-length');
    if (status === 204 || status === 304 || status === 101) this.#rest = 0;
    else if (/(^|[ ,])chunked$/i.test(header('transfer-encoding') ?? '')) this.#rest = 'chunked';
    else if (length === undefined) this.#rest = 'end';
    else if (/^\d+$/.test(length)) this.#rest = Number(length);
    else throw new MalformedResponse(`bad Content-Length ${JSON.stringify(length)}`);
    this.#head = { status, location: header('location') || undefined };
    return true;
  }

  /** @returns whether all that is wanted of the body is there. */
  #readBody(): boolean {
    while (this.#bodyBytes < this.#maxBodyBytes) {
      if (this.#rest === 'chunked') {
        if (this.#chunkRest === 0) {
          const more = this.#readChunkSize();
          if (more !== 'chunk') return more === 'last';
        }
        if (this.#pending.length === 0) return false;
        this.#chunkRest -= this.#take(this.#chunkRest);
        this.#afterChunk = this.#chunkRest === 0;
      } else if (this.#rest === 'end') {
        if (this.#pending.length === 0) return false;
        this.#take(this.#pending.length);
      } else {
        if (this.#rest === 0) return true;
        if (this.#pending.length === 0) return false;
        this.#rest -= this.#take(this.#rest);
      }
    }
    return true;
  }

  #take(limit: number): number {
    const part = this.#pending.subarray(0, limit);
    this.#pending = this.#pending.subarray(part.length);
    this.#body.push(part);
    this.#bodyBytes += part.length;
    return part.length;
  }

  #readChunkSize(): 'chunk' | 'last' | 'more' {
    for (;;) {
      const end = this.#pending.indexOf(LF);
      if (end < 0) {
        if (this.#pending.length > 4096) throw new Error('http: chunk length too large');
        return 'more';
      }
      const line = this.#pending.toString('latin1', 0, end).trim();
      this.#pending = this.#pending.subarray(end + 1);
      if (this.#afterChunk && line === '') {
        this.#afterChunk = false;
        continue;
      }
      const size = line.split(';', 1)[0]!.trim();
      if (!/^[0-9a-f]{1,12}$/i.test(size)) throw new Error('invalid byte in chunk length');
      this.#chunkRest = Number.parseInt(size, 16);
      // Trailers may follow; nobody here reads them.
      return this.#chunkRest === 0 ? 'last' : 'chunk';
    }
  }
}

/** Where the empty line after the headers ends; -1 when it has not come. Bare line feeds are taken, as Go takes them. */
function headEnd(buffer: Buffer, from: number): number {
  for (let at = buffer.indexOf(LF, from); at >= 0; at = buffer.indexOf(LF, at + 1)) {
    if (buffer[at + 1] === LF) return at + 2;
    if (buffer[at + 1] === 0x0d && buffer[at + 2] === LF) return at + 3;
  }
  return -1;
}

function malformed(line: string): MalformedResponse {
  const quoted = JSON.stringify(line)
    .replace(/\\u00([0-9a-f]{2})/g, '\\x$1')
    .replace(/[\x7f-\xff]/g, hex);
  return new MalformedResponse(`malformed HTTP response ${quoted}`);
}

function hex(character: string): string {
  return `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`;
}

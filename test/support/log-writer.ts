/** Writes a log as the Engine's json-file driver does, with its rotation; also as a program of its own: `node log-writer.ts <path> <max bytes> <max files> <compress> <lines>`. */
import { closeSync, existsSync, openSync, readFileSync, renameSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

export class LogWriter {
  readonly #path: string;
  readonly #maxBytes: number;
  readonly #maxFiles: number;
  readonly #compress: boolean;
  #file: number;
  #bytes = 0;
  #count = 0;

  constructor(path: string, options: { maxBytes?: number; maxFiles?: number; compress?: boolean } = {}) {
    this.#path = path;
    this.#maxBytes = options.maxBytes ?? Number.POSITIVE_INFINITY;
    this.#maxFiles = options.maxFiles ?? 5;
    this.#compress = options.compress ?? true;
    this.#file = openSync(path, 'w');
  }

  /** Milliseconds since the epoch of line n are n seconds. */
  write(log: string, stream: 'stdout' | 'stderr' = 'stdout'): void {
    const time = new Date(this.#count++ * 1000).toISOString().replace('.000Z', '.5Z');
    this.raw(`${JSON.stringify({ log, stream, time })}\n`);
  }

  raw(text: string): void {
    if (this.#bytes >= this.#maxBytes) this.rotate();
    this.#bytes += writeSync(this.#file, text);
  }

  rotate(): void {
    closeSync(this.#file);
    const name = (age: number) => {
      const plain = `${this.#path}.${age}`;
      return existsSync(plain) ? plain : existsSync(`${plain}.gz`) ? `${plain}.gz` : undefined;
    };
    const oldest = name(this.#maxFiles - 1);
    if (oldest) rmSync(oldest);
    for (let age = this.#maxFiles - 2; age >= 1; age--) {
      const from = name(age);
      if (from) renameSync(from, `${this.#path}.${age + 1}${from.endsWith('.gz') ? '.gz' : ''}`);
    }
    renameSync(this.#path, `${this.#path}.1`);
    this.#file = openSync(this.#path, 'w');
    this.#bytes = 0;
    if (!this.#compress) return;
    writeFileSync(`${this.#path}.1.gz`, gzipSync(readFileSync(`${this.#path}.1`), { level: 1 }));
    rmSync(`${this.#path}.1`);
  }

  close(): void {
    closeSync(this.#file);
  }
}

if (import.meta.main) {
  const [path = '', maxBytes, maxFiles, compress, lines] = process.argv.slice(2);
  const writer = new LogWriter(path, {
    maxBytes: Number(maxBytes),
    maxFiles: Number(maxFiles),
    compress: compress === 'true',
  });
  for (let line = 0; line < Number(lines); line++) {
    writer.write(`line ${line} ${'x'.repeat(60)}\n`, line % 7 === 0 ? 'stderr' : 'stdout');
    // A burst, and a moment in which whoever reads can breathe: a machine has more to do than to log.
    if (line % 100 === 99) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
  }
  writer.close();
}

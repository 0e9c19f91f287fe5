import type { LogChunk, LogOptions } from '../engine.ts';

/** One line of a file of the Engine's json-file driver. Lines of more than 16 KiB come as several, all but the last without a newline. */
interface Entry {
  log: string;
  stream: 'stdout' | 'stderr';
  /** RFC 3339 with up to nine digits of a second. */
  time: string;
}

const NEWLINE = 0x0a;

/** Turns the text of log files, in the order of their lines, into what a client reads. */
export interface EntryReader {
  /** Whole and half lines as they come; what they hold of the wanted streams, and since when it is wanted. */
  push(block: Buffer): LogChunk[];
  /** The file ends here, or begins anew: half a line will never be whole. */
  cut(): void;
}

export function createEntryReader(
  options: Pick<LogOptions, 'stdout' | 'stderr' | 'sinceMs' | 'timestamps'>,
): EntryReader {
  let half = Buffer.alloc(0);
  /** Whether the next entry of a stream begins a line. */
  const atLineStart = { stdout: true, stderr: true };
  const wanted = { stdout: options.stdout ?? true, stderr: options.stderr ?? true };

  function show({ log, stream, time }: Entry): string | undefined {
    if (!wanted[stream]) return undefined;
    if (options.sinceMs !== undefined && Date.parse(time) < options.sinceMs) return undefined;
    const isStart = atLineStart[stream];
    atLineStart[stream] = log.endsWith('\n');
    return options.timestamps && isStart ? `${nineDigits(time)} ${log}` : log;
  }

  return {
    push(block) {
      const text = half.length > 0 ? Buffer.concat([half, block]) : block;
      const end = text.lastIndexOf(NEWLINE) + 1;
      half = Buffer.from(text.subarray(end));
      const runs: { stream: LogChunk['stream']; texts: string[] }[] = [];
      for (const line of text.toString('utf8', 0, end).split('\n')) {
        const entry = line === '' ? undefined : parseEntry(line);
        const shown = entry && show(entry);
        if (!entry || shown === undefined) continue;
        const last = runs.at(-1);
        if (last?.stream === entry.stream) last.texts.push(shown);
        else runs.push({ stream: entry.stream, texts: [shown] });
      }
      return runs.map(({ stream, texts }) => ({ stream, data: Buffer.from(texts.join('')) }));
    },
    cut() {
      half = Buffer.alloc(0);
    },
  };
}

/** An Engine that was killed in the middle of a line goes on behind it: the whole entry at the line's end is kept, the half one is lost. */
function parseEntry(line: string): Entry | undefined {
  try {
    return JSON.parse(line);
  } catch {
    const next = line.lastIndexOf('{"log":');
    return next > 0 ? parseEntry(line.slice(next)) : undefined;
  }
}

/** As the Engine and the kubelet print it: the file's time leaves zeros at the end out. */
function nineDigits(time: string): string {
  const [seconds = '', digits = ''] = time.replace(/Z$/, '').split('.');
  return time.endsWith('Z') ? `${seconds}.${digits.padEnd(9, '0')}Z` : time;
}

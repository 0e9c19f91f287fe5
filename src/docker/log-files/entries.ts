import type { LogChunk, LogOptions } from '../engine.ts';
import { JsonTextReader } from './unescape.ts';

/** One line of a file of the Engine's json-file driver. Lines of more than 16 KiB come as several, all but the last without a newline. */
interface Entry {
  log: string;
  stream: 'stdout' | 'stderr';
  /** RFC 3339 with up to nine digits of a second. */
  time: string;
}

const NEWLINE = 0x0a;
const QUOTE = 0x22;
/** How the Engine writes an entry; what looks otherwise is parsed as JSON. */
const HEAD = Buffer.from('{"log":"');
const STREAM = Buffer.from('","stream":"std');
const TIME = Buffer.from('"time":"');
const STDOUT_INITIAL = 'o'.charCodeAt(0);
const STDERR_INITIAL = 'e'.charCodeAt(0);

/** Turns the text of log files, in the order of their lines, into what a client reads. */
export interface EntryReader {
  /** Whole and half lines as they come; what they hold of the wanted streams, and since when it is wanted. */
  push(block: Buffer): LogChunk[];
  /** The file ends here, or begins anew: half a line will never be whole. */
  cut(): void;
}

/** Cost follows bytes, not lines: text is copied once, from the block into what is sent, and no string is made of it. */
export function createEntryReader(
  options: Pick<LogOptions, 'stdout' | 'stderr' | 'sinceMs' | 'timestamps'>,
): EntryReader {
  let half = Buffer.alloc(0);
  /** Whether the next entry of a stream begins a line. */
  const atLineStart = { stdout: true, stderr: true };
  const wanted = { stdout: options.stdout ?? true, stderr: options.stderr ?? true };
  const reader = new JsonTextReader();
  /** Of the last plain entry. */
  const shown: { stream: LogChunk['stream']; bytes: number } = { stream: 'stdout', bytes: 0 };
  const needsTime = options.sinceMs !== undefined || options.timestamps === true;

  const isWanted = (stream: LogChunk['stream'], time: string) =>
    wanted[stream] && (options.sinceMs === undefined || !(Date.parse(time) < options.sinceMs));

  const timeBefore = (stream: LogChunk['stream'], time: string) =>
    options.timestamps && atLineStart[stream] ? `${nineDigits(time)} ` : '';

  /** Writes what is shown of an entry as the Engine writes them; false: it is none. */
  function showPlain(text: Buffer, from: number, to: number, out: Buffer, at: number): boolean {
    if (!startsWith(text, from, HEAD)) return false;
    // Where the time begins; it ends with the entry.
    const time = needsTime ? timeAt(text, from, to) : 0;
    // Room for the time, whose need is known behind the text.
    const start = at + (options.timestamps ? MAX_TIME_BYTES : 0);
    if (time < 0 || !reader.read(text, from + HEAD.length, to, out, start)) return false;
    const stream = streamAt(text, reader.end);
    if (!stream) return false;
    shown.stream = stream;
    shown.bytes = 0;
    const { sinceMs } = options;
    if (!wanted[stream]) return true;
    if (sinceMs !== undefined && Date.parse(text.toString('latin1', time, to - 2)) < sinceMs) return true;
    if (options.timestamps) {
      const prefix = atLineStart[stream] ? copyTime(text, time, to - 2, out, at) : 0;
      out.copyWithin(at + prefix, start, start + reader.written);
      shown.bytes = prefix;
    }
    shown.bytes += reader.written;
    atLineStart[stream] = reader.written > 0 && out[at + shown.bytes - 1] === NEWLINE;
    return true;
  }

  function showOther(line: string): LogChunk | undefined {
    const entry = parseEntry(line);
    if (typeof entry?.log !== 'string' || !isWanted(entry.stream, entry.time)) return undefined;
    const prefix = timeBefore(entry.stream, entry.time);
    atLineStart[entry.stream] = entry.log.endsWith('\n');
    return { stream: entry.stream, data: Buffer.from(`${prefix}${entry.log}`) };
  }

  return {
    push(block) {
      const text = half.length > 0 ? Buffer.concat([half, block]) : block;
      const end = text.lastIndexOf(NEWLINE) + 1;
      const chunks: LogChunk[] = [];
      // Text and its time are shorter than the entry that held them.
      const out = Buffer.allocUnsafe(end + MAX_TIME_BYTES);
      let at = 0;
      let runStart = 0;
      let runStream: LogChunk['stream'] = 'stdout';
      const endRun = () => {
        if (at > runStart) chunks.push({ stream: runStream, data: out.subarray(runStart, at) });
        runStart = at;
      };
      for (let from = 0; from < end; ) {
        const to = text.indexOf(NEWLINE, from);
        if (showPlain(text, from, to, out, at)) {
          if (shown.bytes > 0 && shown.stream !== runStream) {
            endRun();
            runStream = shown.stream;
          }
          at += shown.bytes;
        } else if (to > from) {
          endRun();
          const chunk = showOther(text.toString('utf8', from, to));
          if (chunk) chunks.push(chunk);
        }
        from = to + 1;
      }
      endRun();
      half = Buffer.from(text.subarray(end));
      return chunks;
    },
    cut() {
      half = Buffer.alloc(0);
    },
  };
}

/** `2006-01-02T15:04:05.999999999+14:00 ` */
const MAX_TIME_BYTES = 36;

function startsWith(text: Buffer, at: number, what: Buffer): boolean {
  for (let i = 0; i < what.length; i++) if (text[at + i] !== what[i]) return false;
  return true;
}

/** What stands behind the text of an entry; undefined: something else than the Engine writes. */
function streamAt(text: Buffer, quote: number): LogChunk['stream'] | undefined {
  if (!startsWith(text, quote, STREAM)) return undefined;
  const initial = text[quote + STREAM.length];
  return initial === STDOUT_INITIAL ? 'stdout' : initial === STDERR_INITIAL ? 'stderr' : undefined;
}

/** Where the time begins, which is the last field; -1: it is not. */
function timeAt(text: Buffer, from: number, to: number): number {
  const end = to - '"}'.length;
  let start = end;
  while (start > from && text[start - 1] !== QUOTE && end - start < MAX_TIME_BYTES) start--;
  return text[end] === QUOTE && startsWith(text, start - TIME.length, TIME) ? start : -1;
}

const FRACTION_DOT = '2006-01-02T15:04:05'.length;
const NINE_DIGITS = FRACTION_DOT + '.123456789'.length;
const [DOT, ZERO, Z, SPACE] = Buffer.from('.0Z ') as unknown as [number, number, number, number];

/** As `nineDigits`, with a space behind it: byte by byte, since lines are many. */
function copyTime(text: Buffer, from: number, to: number, out: Buffer, at: number): number {
  const isUtc = text[to - 1] === Z;
  const end = isUtc ? to - 1 : to;
  let length = 0;
  for (let i = from; i < end; i++) out[at + length++] = text[i]!;
  if (isUtc) {
    if (length === FRACTION_DOT) out[at + length++] = DOT;
    while (length < NINE_DIGITS) out[at + length++] = ZERO;
    out[at + length++] = Z;
  }
  out[at + length++] = SPACE;
  return length;
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

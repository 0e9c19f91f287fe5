import type { Clock } from '../../runtime/clock.ts';
import type { LogChunk, LogOptions } from '../engine.ts';
import { closeAll, type LogFile, openNewer } from './chain.ts';
import { createEntryReader, type EntryReader } from './entries.ts';
import { type GrowingLog, watchLog } from './follow.ts';
import { createLineSkipper, findTail } from './tail.ts';

export interface ReadLogDependencies {
  clock: Clock;
  /** Resolves when the container has ended and its log is whole. Only waited for with `follow`. */
  ended: Promise<unknown>;
  /** Lines are missing from what was read, and why. */
  onLost(why: string): void;
}

/**
 * Reads the log that the Engine's json-file driver keeps at `path`, with the files that it has rotated (compressed or not), oldest first.
 * With `follow` it goes on until the container has ended, through all rotations, without losing a line or showing one twice.
 *
 *     x.log.2.gz ─▶ x.log.1 ─▶ x.log ─ ─▶ the next, opened as soon as it is there
 *
 * Throws ENOENT when there is no log; the signal's reason when aborted.
 */
export async function* readLogFiles(
  path: string,
  options: LogOptions,
  deps: ReadLogDependencies,
  signal?: AbortSignal,
): AsyncGenerator<LogChunk> {
  const entries = createEntryReader(options);
  const { files } = await openNewer(path);
  const open = new Set(files);
  let growing: GrowingLog | undefined;
  try {
    let queue = files;
    let skip = (block: Buffer) => block;
    // Before anything is read: what is rotated meanwhile is opened meanwhile.
    if (options.follow) growing = watchLog(path, files.at(-1)!, deps.clock, deps.onLost);
    if (options.tail !== undefined) {
      const tail = await findTail(files, options.tail);
      queue = tail.files;
      skip = createLineSkipper(tail.skipLines);
    }
    const current = queue.at(-1)!;
    for (const file of files) {
      if (file === current) continue;
      if (queue.includes(file) && !isOlder(file, options.sinceMs)) {
        yield* readOne(file, skip, entries, signal);
        entries.cut();
      }
      open.delete(file);
      file.close();
    }
    if (growing) yield* readGrowing(current, growing, { skip, entries, open, ...deps }, signal);
    else yield* readOne(current, skip, entries, signal);
  } finally {
    await growing?.close();
    closeAll([...open]);
  }
}

async function* readOne(
  file: LogFile,
  skip: (block: Buffer) => Buffer,
  entries: EntryReader,
  signal: AbortSignal | undefined,
): AsyncGenerator<LogChunk> {
  for await (const block of file.read()) {
    signal?.throwIfAborted();
    yield* entries.push(skip(block));
  }
}

interface Following extends ReadLogDependencies {
  skip(block: Buffer): Buffer;
  entries: EntryReader;
  open: Set<LogFile>;
}

async function* readGrowing(
  first: LogFile,
  growing: GrowingLog,
  { skip, entries, open, ended }: Following,
  signal: AbortSignal | undefined,
): AsyncGenerator<LogChunk> {
  let isEnded = false;
  const end = () => {
    isEnded = true;
    growing.wake();
  };
  ended.then(end, end);
  signal?.addEventListener('abort', growing.wake, { once: true });
  const waiting: LogFile[] = [];
  let current = first;
  try {
    for (;;) {
      signal?.throwIfAborted();
      const wasEnded = isEnded;
      const next = waiting.shift();
      // To its end once more, now that the writer has gone on to the next: nothing is added behind that.
      yield* readOne(current, skip, entries, signal);
      if (next) {
        entries.cut();
        current.close();
        open.delete(current);
        current = next;
        continue;
      }
      await growing.look();
      const newer = growing.take();
      for (const file of newer) open.add(file);
      waiting.push(...newer);
      if (waiting.length > 0) continue;
      if (wasEnded) return;
      await growing.changed();
    }
  } finally {
    signal?.removeEventListener('abort', growing.wake);
  }
}

/** The kernel dates writes some milliseconds back. */
const DATE_SLACK_MS = 2_000;

/** All of a file that was not written to since then is older. */
function isOlder(file: LogFile, sinceMs: number | undefined): boolean {
  return sinceMs !== undefined && file.modifiedMs() < sinceMs - DATE_SLACK_MS;
}

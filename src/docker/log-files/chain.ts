import { closeSync, fstatSync, openSync, read as readFile, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { createGunzip } from 'node:zlib';

const readAt = promisify(readFile);

/** One file of a log, held open: what the Engine renames, compresses or deletes meanwhile can be read to its end all the same. */
export interface LogFile {
  readonly isCompressed: boolean;
  /** Tells two uncompressed files apart while both are open. */
  readonly inode: number;
  /** How far it was read, in bytes of text. */
  offset: number;
  /** Text from `offset` on, to the end that it has now. A block holds until the next is asked for. */
  read(): AsyncGenerator<Buffer>;
  /** Without the newline; undefined while there is none. */
  firstLine(): Promise<string | undefined>;
  /** Of the last write, or of the compression that followed. */
  modifiedMs(): number;
  /** Idempotent. */
  close(): void;
}

/** Files of a log, oldest first, and whether lines before the first of them are lost. */
export interface NewerFiles {
  files: LogFile[];
  hasGap: boolean;
}

const BLOCK_BYTES = 64 * 1024;
const LEAST_BLOCK_BYTES = 2 * 1024;
/** An entry holds at most 16 KiB of text, six times as much when all of it is escaped. */
const LONGEST_LINE_BYTES = 128 * 1024;
/** A rotation renames all files one after another: what was seen in the middle of one does not fit together. */
const TRIES = 100;
const TRY_AGAIN_MS = 2;

/**
 * Opens the files of a log that are newer than `newest`, or all. There is a gap when `newest` is not among them any more.
 * Throws ENOENT when there is no log (any more).
 */
export async function openNewer(path: string, newest?: LogFile): Promise<NewerFiles> {
  // Without a directory nothing is being rotated: the container is gone, or on another machine.
  for (let tries = 0; tries < TRIES && inodeOf(dirname(path)) !== undefined; tries++) {
    const files = openAll(path, newest);
    if (files) return newest ? leaveOutOlder(files, newest) : { files, hasGap: false };
    await new Promise((resolve) => setTimeout(resolve, TRY_AGAIN_MS));
  }
  throw Object.assign(new Error(`${path}: there is no log`), { code: 'ENOENT' });
}

/**
 * In one go, a few dozen microseconds: a rotation must not come in between. Down to `newest` where it is found by its inode.
 * @returns undefined when a rotation did
 */
function openAll(path: string, newest: LogFile | undefined): LogFile[] | undefined {
  const files: LogFile[] = [];
  let isSteady = false;
  try {
    let isFound = false;
    let age = 0;
    for (; !isFound; age++) {
      const file = openOne(path, age);
      if (!file) break;
      files.unshift(file);
      isFound = newest !== undefined && isSameFile(file, newest);
    }
    // In the middle of a rotation one is missing in the row.
    const beyond = isFound ? undefined : openOne(path, age + 1);
    beyond?.close();
    isSteady = !beyond && files.length > 0 && files.at(-1)!.inode === inodeOf(path);
    return isSteady ? files : undefined;
  } finally {
    if (!isSteady) closeAll(files);
  }
}

async function leaveOutOlder(files: LogFile[], newest: LogFile): Promise<NewerFiles> {
  for (let at = files.length - 1; at >= 0; at--) {
    if (!isSameFile(files[at]!, newest) && !(await isPacked(files[at]!, newest))) continue;
    closeAll(files.slice(0, at + 1));
    return { files: files.slice(at + 1), hasGap: false };
  }
  return { files, hasGap: true };
}

const isSameFile = (file: LogFile, known: LogFile) =>
  !file.isCompressed && !known.isCompressed && file.inode === known.inode;

async function isPacked(file: LogFile, known: LogFile): Promise<boolean> {
  const first = file.isCompressed ? await file.firstLine() : undefined;
  return first !== undefined && first === (await known.firstLine());
}

/** The log's file of an age (0 is the one that is written to); undefined when there is none. */
function openOne(path: string, age: number): LogFile | undefined {
  // Uncompressed first: while one is being compressed it is there as both, and half of the other.
  const names = age === 0 ? [path] : [`${path}.${age}`, `${path}.${age}.gz`];
  for (const name of names) {
    try {
      return createLogFile(openSync(name, 'r'), name.endsWith('.gz'));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
  return undefined;
}

function createLogFile(fd: number, isCompressed: boolean): LogFile {
  let isOpen = true;
  const file: LogFile = {
    isCompressed,
    inode: fstatSync(fd).ino,
    offset: 0,
    async *read() {
      // It does not grow: it is read once, whole.
      if (isCompressed && file.offset > 0) return;
      // A writer that keeps one file truncates it instead of beginning another.
      if (!isCompressed && fstatSync(fd).size < file.offset) file.offset = 0;
      for await (const block of isCompressed ? unpack(fd) : blocksOf(fd, file.offset)) {
        file.offset += block.length;
        yield block;
      }
    },
    async firstLine() {
      let head = Buffer.alloc(0);
      for await (const block of isCompressed ? unpack(fd) : blocksOf(fd, 0)) {
        head = Buffer.concat([head, block]);
        if (head.includes('\n') || head.length > LONGEST_LINE_BYTES) break;
      }
      const end = head.indexOf('\n');
      return end === -1 ? undefined : head.toString('utf8', 0, end);
    },
    modifiedMs: () => fstatSync(fd).mtimeMs,
    close() {
      if (isOpen) closeSync(fd);
      isOpen = false;
    },
  };
  return file;
}

async function* unpack(fd: number): AsyncGenerator<Buffer> {
  // The unpacker holds several at a time.
  const packed = Readable.from(copiesOf(blocksOf(fd, 0)));
  const unpacked = createGunzip();
  packed.on('error', (error) => unpacked.destroy(error));
  packed.pipe(unpacked);
  try {
    yield* unpacked;
  } finally {
    unpacked.destroy();
    packed.destroy();
  }
}

/** All in the same memory: a gigabyte that is read in blocks of its own leaves the collector as much to do. */
async function* blocksOf(fd: number, from: number): AsyncGenerator<Buffer> {
  // A follower finds a line or two each time.
  const left = fstatSync(fd).size - from;
  const block = Buffer.allocUnsafe(Math.max(LEAST_BLOCK_BYTES, Math.min(left, BLOCK_BYTES)));
  for (let at = from; ; ) {
    const { bytesRead } = await readAt(fd, block, 0, block.length, at);
    if (bytesRead === 0) return;
    at += bytesRead;
    yield block.subarray(0, bytesRead);
  }
}

async function* copiesOf(blocks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  for await (const block of blocks) yield Buffer.from(block);
}

/** Of the file that is written to; undefined while there is none. */
export function inodeOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.ino;
}

export function closeAll(files: readonly LogFile[]): void {
  for (const file of files) file.close();
}

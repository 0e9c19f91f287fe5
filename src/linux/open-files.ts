import { closeSync, openSync, readSync } from 'node:fs';

/** Files of /proc, /sys and cgroups that are read again and again. */
export interface OpenFiles {
  /**
   * The text of the file now, after a leading newline (so that the first line begins as every other); undefined when it is not there
   * (any more) or gives no answer. Only for files whose text the kernel makes while it is read: the call is synchronous.
   */
  read(path: string): string | undefined;
  /** Closes those for which `keep` says no. */
  retain(keep: (path: string) => boolean): void;
  close(): void;
}

const NEWLINE = 10;
const FIRST_BYTES = 16 << 10;

/** What a cgroup that was removed meanwhile, a process that ended, a controller that does not tell, answer. */
const NO_ANSWER = new Set(['ENOENT', 'ENODEV', 'ESRCH', 'ENOTDIR', 'EOPNOTSUPP', 'EINVAL', 'EACCES', 'EPERM']);

/** Every reader shares it: calls are synchronous, and text leaves it as a string. */
let buffer = Buffer.alloc(FIRST_BYTES);

/**
 * Reads such a file once. @throws what is no answer but a fault: EMFILE, EIO, ….
 */
export function readKernelFile(path: string): string | undefined {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    return noAnswer(error);
  }
  try {
    return readFrom(fd);
  } catch (error) {
    return noAnswer(error);
  } finally {
    closeSync(fd);
  }
}

/**
 * Keeps up to `limit` files open: to read again costs a microsecond or two, to open as well takes seven more. The kernel keeps some 4 KiB
 * for each; what does not fit is opened every time. An open file of a cgroup does not keep the cgroup.
 */
export function createOpenFiles(limit: number): OpenFiles {
  const open = new Map<string, number>();

  function drop(path: string, fd: number) {
    open.delete(path);
    closeSync(fd);
  }

  return {
    read(path) {
      const known = open.get(path);
      if (known !== undefined) {
        try {
          return readFrom(known);
        } catch (error) {
          drop(path, known);
          // Another one may have been made in its place.
          noAnswer(error);
        }
      }
      if (open.size >= limit) return readKernelFile(path);
      let fd: number;
      try {
        fd = openSync(path, 'r');
      } catch (error) {
        return noAnswer(error);
      }
      open.set(path, fd);
      try {
        return readFrom(fd);
      } catch (error) {
        drop(path, fd);
        return noAnswer(error);
      }
    },
    retain(keep) {
      for (const [path, fd] of open) if (!keep(path)) drop(path, fd);
    },
    close() {
      for (const [path, fd] of open) drop(path, fd);
    },
  };
}

/** Throws what is a fault. */
function noAnswer(error: unknown): undefined {
  if (!NO_ANSWER.has((error as NodeJS.ErrnoException).code ?? '')) throw error;
  return undefined;
}

/** From the start, whatever was read before; more than once only when the text is longer than the buffer. */
function readFrom(fd: number): string {
  buffer[0] = NEWLINE;
  for (;;) {
    const length = readSync(fd, buffer, 1, buffer.length - 1, 0);
    if (length < buffer.length - 1) return buffer.toString('latin1', 0, length + 1);
    buffer = Buffer.alloc(buffer.length * 2);
    buffer[0] = NEWLINE;
  }
}

import { closeSync, constants, openSync, readSync } from 'node:fs';

/** Longest record that the kernel gives out (CONSOLE_EXT_LOG_MAX). */
const RECORD_BYTES = 8192;

/** The kernel's own log, from its oldest record on. */
export interface KernelLog {
  /** The next records, at most `most`; fewer when no more are there yet. Never waits. */
  read(most: number): string[];
  close(): void;
}

/** Opens `/dev/kmsg`. Throws (ENOENT, EPERM) where it may not be read. */
export function openKernelLog(path = '/dev/kmsg'): KernelLog {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const buffer = Buffer.alloc(RECORD_BYTES);
  return {
    read(most) {
      const messages: string[] = [];
      for (let count = 0; count < most; count++) {
        try {
          const length = readSync(fd, buffer);
          if (length === 0) break;
          messages.push(parseKernelRecord(buffer.toString('utf8', 0, length)));
        } catch (error) {
          const { code } = error as NodeJS.ErrnoException;
          if (code === 'EAGAIN') break;
          // EPIPE: records were overwritten before they were read; the next read goes on with the oldest that is left.
          if (code !== 'EPIPE') throw error;
        }
      }
      return messages;
    },
    close: () => closeSync(fd),
  };
}

/** `4,1339,5140900,-;message`, lines of properties below: the message. */
export function parseKernelRecord(record: string): string {
  const [line = ''] = record.split('\n', 1);
  return line.slice(line.indexOf(';') + 1);
}

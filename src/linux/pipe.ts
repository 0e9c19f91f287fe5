import { constants } from 'node:fs';
import koffi from 'koffi';
import { SyscallError } from './libc.ts';

const pipeCall = koffi.load('libc.so.6').func('int pipe2(_Out_ int32_t *ends, int flags)');
const O_CLOEXEC = 0o2000000;

/** A pipe within the process, for a thread that waits in poll(2). Both ends do not block; close them with fs.closeSync. */
export function openPipe(): { readEnd: number; writeEnd: number } {
  const ends = [-1, -1];
  if (pipeCall(ends, constants.O_NONBLOCK | O_CLOEXEC) !== 0) throw new SyscallError('pipe2', koffi.errno(), 'a pipe');
  return { readEnd: ends[0]!, writeEnd: ends[1]! };
}

import { constants } from 'node:os';
import koffi from 'koffi';

/**
 * The few system calls that Node does not offer, called directly. All are synchronous and return at once;
 * whoever adds one that can block must give it a non-blocking form.
 */
const libc = koffi.load('libc.so.6');

/** A failed system call, shaped like Node's own: `code` is the errno's name. */
export class SyscallError extends Error {
  override readonly name = 'SyscallError';
  readonly syscall: string;
  readonly code: string;
  readonly errno: number;

  constructor(syscall: string, errno: number, subject: string) {
    const code = errnoName(errno);
    super(`${syscall} ${subject}: ${code}`);
    this.syscall = syscall;
    this.code = code;
    this.errno = errno;
  }
}

const NAMES = new Map(Object.entries(constants.errno).map(([name, number]) => [number, name]));

/** `17` → `EEXIST`; an unknown number stays a number. */
export function errnoName(errno: number): string {
  return NAMES.get(errno) ?? (errno === constants.errno.EAGAIN ? 'EAGAIN' : `errno ${errno}`);
}

const setnsCall = libc.func('int setns(int fd, int nstype)');
const flockCall = libc.func('int flock(int fd, int operation)');
const mountCall = libc.func(
  'int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)',
);
const umountCall = libc.func('int umount2(const char *target, int flags)');

function check(result: number, syscall: string, subject: string): void {
  if (result !== 0) throw new SyscallError(syscall, koffi.errno(), subject);
}

export const CLONE_NEWNET = 0x4000_0000;

/** Moves the calling thread into the namespace of the descriptor. */
export function setns(fd: number, type: number, subject: string): void {
  check(setnsCall(fd, type), 'setns', subject);
}

export const LOCK_EX = 2;
export const LOCK_NB = 4;
export const LOCK_UN = 8;

/** Advisory lock on an open file. With LOCK_NB the error's code is EAGAIN while another holder has it. */
export function flock(fd: number, operation: number, subject: string): void {
  check(flockCall(fd, operation), 'flock', subject);
}

/** mount(2). `flags` are MS_* bits. */
export function mount(source: string, target: string, type: string | null, flags: number, data: string | null): void {
  check(mountCall(source, target, type, flags, data), 'mount', target);
}

/** umount2(2). `flags` are MNT_* bits. */
export function umount(target: string, flags: number): void {
  check(umountCall(target, flags), 'umount2', target);
}

import { closeSync } from 'node:fs';
import { constants } from 'node:os';
import koffi from 'koffi';
import { SyscallError } from './libc.ts';

/**
 * UNIX sockets that carry file descriptors (SCM_RIGHTS), which Node's own sockets drop. The descriptors here are non-blocking; waiting
 * for one is `waitOnThread`'s business.
 */
const libc = koffi.load('libc.so.6');
const socketCall = libc.func('int socket(int domain, int type, int protocol)');
const connectCall = libc.func('int connect(int fd, const void *address, uint32_t length)');
const shutdownCall = libc.func('int shutdown(int fd, int how)');
const sendmsgCall = libc.func('long sendmsg(int fd, const void *message, int flags)');
const recvmsgCall = libc.func('long recvmsg(int fd, void *message, int flags)');
const pollCall = libc.func('int poll(_Inout_ void *descriptors, unsigned long count, int timeoutMs)');

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SHUT_RDWR = 2;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x4000_0000;
const SUN_PATH_BYTES = 108;
/** struct cmsghdr on 64-bit Linux: length (8 bytes), level, type. */
const CMSG_HEADER_BYTES = 16;
/** More than a D-Bus daemon lets through in one message. */
const MOST_DESCRIPTORS = 64;

export const POLLIN = 1;
export const POLLOUT = 4;

/**
 * A connected, non-blocking stream socket; close it with fs.closeSync. `path` that begins with a zero byte is an abstract name.
 * @throws SyscallError ENOENT, ECONNREFUSED, EAGAIN (too many wait before the listener), ENAMETOOLONG
 */
export function connectUnixStream(path: string): number {
  const subject = path.replace(/^\0/, '@');
  const name = Buffer.from(path);
  if (name.length >= SUN_PATH_BYTES) throw new SyscallError('connect', constants.errno.ENAMETOOLONG, subject);
  const fd = socketCall(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) throw new SyscallError('socket', koffi.errno(), 'AF_UNIX');
  const address = Buffer.alloc(2 + name.length + (name[0] === 0 ? 0 : 1));
  address.writeUInt16LE(AF_UNIX, 0);
  name.copy(address, 2);
  if (connectCall(fd, address, address.length) === 0) return fd;
  const errno = koffi.errno();
  closeSync(fd);
  throw new SyscallError('connect', errno, subject);
}

/** Ends both directions: who waits for the descriptor on another thread wakes up, which closing alone does not do. */
export function shutdownSocket(fd: number): void {
  shutdownCall(fd, SHUT_RDWR);
}

/** Sends what fits now, the descriptors beside the first byte. @returns bytes sent; undefined when nothing fits now */
export function sendDescriptors(fd: number, data: Uint8Array, descriptors: readonly number[]): number | undefined {
  const control = Buffer.alloc(descriptors.length === 0 ? 0 : alignedControl(descriptors.length));
  if (descriptors.length > 0) {
    control.writeBigUInt64LE(BigInt(CMSG_HEADER_BYTES + 4 * descriptors.length), 0);
    control.writeInt32LE(SOL_SOCKET, 8);
    control.writeInt32LE(SCM_RIGHTS, 12);
    for (const [index, one] of descriptors.entries()) control.writeInt32LE(one, CMSG_HEADER_BYTES + 4 * index);
  }
  const { header, keep } = messageHeader(data, control);
  const sent = Number(sendmsgCall(fd, header, MSG_NOSIGNAL));
  const errno = sent < 0 ? koffi.errno() : 0;
  keep();
  if (sent >= 0) return sent;
  if (isNotNow(errno)) return undefined;
  throw new SyscallError('sendmsg', errno, 'UNIX socket');
}

/** Receives what is there. @returns undefined when nothing is; no bytes at the end of the stream. The descriptors are the caller's to close. */
export function receiveDescriptors(
  fd: number,
  limitBytes: number,
): { data: Buffer; descriptors: number[] } | undefined {
  const data = Buffer.alloc(limitBytes);
  const control = Buffer.alloc(alignedControl(MOST_DESCRIPTORS));
  const { header, keep } = messageHeader(data, control);
  const length = Number(recvmsgCall(fd, header, MSG_CMSG_CLOEXEC));
  const errno = length < 0 ? koffi.errno() : 0;
  keep();
  if (length < 0) {
    if (isNotNow(errno)) return undefined;
    throw new SyscallError('recvmsg', errno, 'UNIX socket');
  }
  const controlBytes = Number(header.readBigUInt64LE(CONTROL_LENGTH_OFFSET));
  return { data: data.subarray(0, length), descriptors: parseRights(control.subarray(0, controlBytes)) };
}

/**
 * Waits on a thread of Node's pool until the descriptor can be read (POLLIN) or written (POLLOUT), or has ended. The pool has few threads:
 * only for waits that are short by their nature.
 * @returns whether anything happened within the time
 */
export function waitOnThread(fd: number, events: number, timeoutMs: number): Promise<boolean> {
  const pollfd = Buffer.alloc(8);
  pollfd.writeInt32LE(fd, 0);
  pollfd.writeInt16LE(events, 4);
  return new Promise((resolve, reject) => {
    pollCall.async(pollfd, 1, timeoutMs, (error: unknown, ready: number) => {
      if (error) reject(error);
      else resolve(ready !== 0);
    });
  });
}

const CONTROL_LENGTH_OFFSET = 40;

/** struct msghdr on 64-bit Linux over one buffer; `keep` holds the buffers alive until the call is over. */
function messageHeader(data: Uint8Array, control: Uint8Array): { header: Buffer; keep(): void } {
  const vector = Buffer.alloc(16);
  vector.writeBigUInt64LE(addressOf(data), 0);
  vector.writeBigUInt64LE(BigInt(data.length), 8);
  const header = Buffer.alloc(56);
  header.writeBigUInt64LE(addressOf(vector), 16);
  header.writeBigUInt64LE(1n, 24);
  header.writeBigUInt64LE(addressOf(control), 32);
  header.writeBigUInt64LE(BigInt(control.length), CONTROL_LENGTH_OFFSET);
  const held = [vector, data, control];
  return { header, keep: () => void held.length };
}

function addressOf(buffer: Uint8Array): bigint {
  return buffer.length === 0 ? 0n : BigInt(koffi.address(buffer));
}

function alignedControl(descriptors: number): number {
  return CMSG_HEADER_BYTES + Math.ceil((4 * descriptors) / 8) * 8;
}

function parseRights(control: Buffer): number[] {
  const found: number[] = [];
  for (let offset = 0; offset + CMSG_HEADER_BYTES <= control.length; ) {
    const length = Number(control.readBigUInt64LE(offset));
    if (length < CMSG_HEADER_BYTES) break;
    const isRights = control.readInt32LE(offset + 8) === SOL_SOCKET && control.readInt32LE(offset + 12) === SCM_RIGHTS;
    for (let at = offset + CMSG_HEADER_BYTES; isRights && at + 4 <= offset + length; at += 4)
      found.push(control.readInt32LE(at));
    offset += Math.ceil(length / 8) * 8;
  }
  return found;
}

function isNotNow(errno: number): boolean {
  return errno === constants.errno.EAGAIN || errno === constants.errno.EINTR;
}

import { constants, endianness } from 'node:os';
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

const NAMES = new Map([
  ...Object.entries(constants.errno).map(([name, number]): [number, string] => [number, name]),
  // The kernel's own, which no program should see; nf_tables answers it all the same.
  [85, 'ERESTART'],
]);

/** `17` → `EEXIST`; an unknown number stays a number. */
export function errnoName(errno: number): string {
  return NAMES.get(errno) ?? (errno === constants.errno.EAGAIN ? 'EAGAIN' : `errno ${errno}`);
}

const setnsCall = libc.func('int setns(int fd, int nstype)');
const unshareCall = libc.func('int unshare(int flags)');
const flockCall = libc.func('int flock(int fd, int operation)');
const mountCall = libc.func(
  'int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)',
);
const umountCall = libc.func('int umount2(const char *target, int flags)');

const openatCall = libc.func('int openat(int directory, const char *path, int flags, uint32_t mode)');
const mkdiratCall = libc.func('int mkdirat(int directory, const char *path, uint32_t mode)');
// glibc has no wrappers for these, or only newer ones than we can ask for; the numbers are the same on every architecture.
const openat2Call = libc.func(
  'long syscall(long number, int directory, const char *path, const void *how, size_t size)',
);
const mountSetattrCall = libc.func(
  'long syscall(long number, int directory, const char *path, uint32_t flags, const void *attributes, size_t size)',
);
const SYS_OPENAT2 = 437;
const SYS_MOUNT_SETATTR = 442;

const socketCall = libc.func('int socket(int domain, int type, int protocol)');
const connectCall = libc.func('int connect(int fd, const void *address, uint32_t length)');
const bindCall = libc.func('int bind(int fd, const void *address, uint32_t length)');
const listenCall = libc.func('int listen(int fd, int backlog)');
const sendCall = libc.func('long send(int fd, const void *data, size_t length, int flags)');
const setsockoptCall = libc.func(
  'int setsockopt(int fd, int level, int option, const int32_t *value, uint32_t length)',
);
const interfaceRequestCall = libc.func('int ioctl(int fd, unsigned long request, _Inout_ void *ifreq)');
const recvCall = libc.func('long recv(int fd, _Out_ void *data, size_t length, int flags)');

function check(result: number, syscall: string, subject: string): void {
  if (result !== 0) throw new SyscallError(syscall, koffi.errno(), subject);
}

export const CLONE_NEWNET = 0x4000_0000;

/** Moves the calling thread into the namespace of the descriptor. */
export function setns(fd: number, type: number, subject: string): void {
  check(setnsCall(fd, type), 'setns', subject);
}

/** Moves the calling thread into new namespaces. `flags` are CLONE_NEW* bits. */
export function unshare(flags: number): void {
  check(unshareCall(flags), 'unshare', `0x${flags.toString(16)}`);
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

/** openat(2): a new descriptor, closed on exec. `path` is one name or a path below the directory. */
export function openat(directory: number, path: string, flags: number): number {
  const fd = openatCall(directory, path, flags | O_CLOEXEC, 0);
  if (fd < 0) throw new SyscallError('openat', koffi.errno(), path);
  return fd;
}

/** openat2(2) with RESOLVE_* bits, since Linux 5.6. Throws ENOSYS before, EPERM where a sandbox does not know the call. */
export function openat2(directory: number, path: string, flags: number, resolve: number): number {
  const how = Buffer.alloc(24);
  how.writeBigUInt64LE(BigInt(flags | O_CLOEXEC), 0);
  how.writeBigUInt64LE(BigInt(resolve), 16);
  const fd = Number(openat2Call(SYS_OPENAT2, directory, path, how, how.length));
  if (fd < 0) throw new SyscallError('openat2', koffi.errno(), path);
  return fd;
}

/** mkdirat(2). The umask applies. */
export function mkdirat(directory: number, name: string, mode: number): void {
  check(mkdiratCall(directory, name, mode), 'mkdirat', name);
}

/** mount_setattr(2), since Linux 5.12: sets MOUNT_ATTR_* bits of a mount, with AT_RECURSIVE of all mounts below it too. */
export function mountSetattr(path: string, flags: number, attributes: { set: number; clear?: number }): void {
  const attr = Buffer.alloc(32);
  attr.writeBigUInt64LE(BigInt(attributes.set), 0);
  attr.writeBigUInt64LE(BigInt(attributes.clear ?? 0), 8);
  const result = Number(mountSetattrCall(SYS_MOUNT_SETATTR, AT_FDCWD, path, flags, attr, attr.length));
  check(result, 'mount_setattr', path);
}

const AT_FDCWD = -100;
const O_CLOEXEC = 0o2000000;
const AF_INET = 2;
const AF_INET6 = 10;

/** connect(2) to an Internet address; `address` is 4 or 16 bytes. */
export function connectInternet(fd: number, address: Uint8Array, port: number): void {
  const sockaddr = internetAddress(address, port);
  check(connectCall(fd, sockaddr, sockaddr.length), 'connect', `port ${port}`);
}

/** bind(2) to an Internet address; `address` is 4 or 16 bytes, port 0 lets the kernel choose. */
export function bindInternet(fd: number, address: Uint8Array, port: number): void {
  const sockaddr = internetAddress(address, port);
  check(bindCall(fd, sockaddr, sockaddr.length), 'bind', `port ${port}`);
}

export function listen(fd: number, backlog: number): void {
  check(listenCall(fd, backlog), 'listen', `socket ${fd}`);
}

/** struct sockaddr_in or sockaddr_in6. */
function internetAddress(address: Uint8Array, port: number): Buffer {
  const sockaddr = Buffer.alloc(address.length === 4 ? 16 : 28);
  sockaddr.writeUInt16LE(address.length === 4 ? AF_INET : AF_INET6, 0);
  sockaddr.writeUInt16BE(port, 2);
  sockaddr.set(address, address.length === 4 ? 4 : 8);
  return sockaddr;
}

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const MSG_TRUNC = 0x20;
const MSG_DONTWAIT = 0x40;

const SOCK_STREAM = 1;

/** An unbound TCP socket of the calling thread's network namespace; close it with fs.closeSync. */
export function tcpSocket(family: 4 | 6): number {
  const fd = socketCall(family === 4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) throw new SyscallError('socket', koffi.errno(), `IPv${family}`);
  return fd;
}

const SOCK_DGRAM = 2;

/** An unbound UDP socket of the calling thread's network namespace; close it with fs.closeSync. */
export function udpSocket(family: 4 | 6): number {
  const fd = socketCall(family === 4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) throw new SyscallError('socket', koffi.errno(), `IPv${family}`);
  return fd;
}

/** An unbound netlink socket of the calling thread's network namespace; close it with fs.closeSync. */
export function netlinkSocket(protocol: number): number {
  const fd = socketCall(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
  if (fd < 0) throw new SyscallError('socket', koffi.errno(), 'AF_NETLINK');
  return fd;
}

/** setsockopt(2) of an option whose value is a number. */
export function setSocketOption(fd: number, level: number, option: number, value: number, subject: string): void {
  check(setsockoptCall(fd, level, option, [value], 4), 'setsockopt', subject);
}

/** send(2) of a whole datagram. */
export function send(fd: number, data: Uint8Array, subject: string): void {
  if (Number(sendCall(fd, data, data.length, 0)) < 0) throw new SyscallError('send', koffi.errno(), subject);
}

/** send(2) on a thread of Node's pool: for requests that the kernel takes long to carry out. */
export function sendOnThread(fd: number, data: Uint8Array, subject: string): Promise<void> {
  return new Promise((resolve, reject) => {
    sendCall.async(fd, data, data.length, 0, (error: unknown, sent: number) => {
      if (error) reject(error);
      // errno belongs to the other thread; what matters comes in the answer.
      else if (Number(sent) < data.length) reject(new SyscallError('send', constants.errno.EIO, subject));
      else resolve();
    });
  });
}

/**
 * recv(2) of a datagram that is there already, into a buffer of the caller's.
 * @returns its length, which is more than the buffer's when the rest of it is lost; undefined when nothing is there.
 */
export function receiveInto(fd: number, buffer: Uint8Array, subject: string): number | undefined {
  for (;;) {
    const length = Number(recvCall(fd, buffer, buffer.length, MSG_DONTWAIT | MSG_TRUNC));
    if (length >= 0) return length;
    const errno = koffi.errno();
    if (errno === constants.errno.EAGAIN) return undefined;
    if (errno !== constants.errno.EINTR) throw new SyscallError('recv', errno, subject);
  }
}

/** recv(2) of what is there already. EAGAIN when nothing is. */
export function receiveNow(fd: number, limitBytes: number, subject: string): Buffer {
  // Only what was received is handed out, so nothing need be cleared first.
  const buffer = Buffer.allocUnsafe(limitBytes);
  const length = Number(recvCall(fd, buffer, limitBytes, MSG_DONTWAIT));
  if (length < 0) throw new SyscallError('recv', koffi.errno(), subject);
  return buffer.subarray(0, length);
}

const SIOCGIFNAME = 0x8910;
const IFREQ_BYTES = 40;
const IFREQ_INDEX_OFFSET = 16;

/** Whether a link of that index is listed in the socket's network namespace. Takes none of the locks that a change of links holds. */
export function hasLink(fd: number, index: number): boolean {
  const request = Buffer.alloc(IFREQ_BYTES);
  if (endianness() === 'LE') request.writeInt32LE(index, IFREQ_INDEX_OFFSET);
  else request.writeInt32BE(index, IFREQ_INDEX_OFFSET);
  if (interfaceRequestCall(fd, SIOCGIFNAME, request) === 0) return true;
  const errno = koffi.errno();
  if (errno === constants.errno.ENODEV) return false;
  throw new SyscallError('ioctl(SIOCGIFNAME)', errno, `link ${index}`);
}

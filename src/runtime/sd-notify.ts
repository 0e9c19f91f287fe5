import koffi from 'koffi';

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const SUN_PATH_BYTES = 108;

/**
 * sd_notify(3): tells systemd of a `Type=notify` unit what goes on (`READY=1`, `STOPPING=1`, `STATUS=…`, `WATCHDOG=1`).
 * Node has no AF_UNIX datagrams, so libc sends this one. Does nothing without a socket; never throws, because a daemon must not
 * fail over what it tells its supervisor. Returns whether the datagram was sent.
 */
export function sdNotify(state: string, socketPath: string | undefined): boolean {
  if (!socketPath) return false;
  const path = Buffer.from(socketPath.startsWith('@') ? `\0${socketPath.slice(1)}` : socketPath);
  if (path.length >= SUN_PATH_BYTES) return false;
  const address = Buffer.alloc(2 + path.length + (path[0] === 0 ? 0 : 1));
  address.writeUInt16LE(AF_UNIX, 0);
  path.copy(address, 2);
  const { socket, sendto, close } = loadLibc();
  const fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  const message = Buffer.from(state);
  const sent = sendto(fd, message, message.length, 0, address, address.length);
  close(fd);
  return sent === message.length;
}

type Libc = {
  socket(domain: number, type: number, protocol: number): number;
  sendto(fd: number, message: Buffer, length: number, flags: number, address: Buffer, addressLength: number): number;
  close(fd: number): number;
};

let libc: Libc | undefined;

function loadLibc(): Libc {
  if (!libc) {
    const library = koffi.load('libc.so.6');
    libc = {
      socket: library.func('int socket(int domain, int type, int protocol)'),
      sendto: library.func(
        'long sendto(int fd, const void *message, size_t length, int flags, const void *address, uint32_t addressLength)',
      ),
      close: library.func('int close(int fd)'),
    };
  }
  return libc;
}

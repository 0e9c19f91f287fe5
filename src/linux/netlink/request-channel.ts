import { closeSync } from 'node:fs';
import { constants } from 'node:os';
import { netlinkSocket, receiveInto, SyscallError, send, setSocketOption } from '../libc.ts';
import { inNetns } from '../netns.ts';

/** A descriptor on which requests go to the kernel and their answers come back. */
export interface RequestChannel {
  /**
   * The kernel carries the requests out within this call, and has put the answers of all but long dumps there when it returns.
   * @throws SyscallError
   */
  send(datagram: Uint8Array): void;
  /** The next datagram of what is there; undefined when nothing is. @throws SyscallError; EMSGSIZE when it was too large. */
  receive(): Buffer | undefined;
  close(): void;
}

const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SOL_NETLINK = 270;
const NETLINK_NO_ENOBUFS = 5;

const RECEIVE_BUFFER_BYTES = 1 << 20;
const SEND_BUFFER_BYTES = 1 << 18;

/** The kernel hands out dumps by 32 KiB; a single object may be larger (a card with many virtual functions). */
const DATAGRAM_LIMIT_BYTES = 1 << 17;
/** One for all channels: what is received is copied out at once. */
let landing: Buffer | undefined;

/**
 * System calls and no event loop: an answer that is there when the request has been sent need not be waited for.
 * With NETLINK_NO_ENOBUFS the kernel drops what does not fit instead of putting the socket in error; a request whose answer was dropped times out.
 */
export function openRequestChannel(protocol: number, netns?: string): RequestChannel {
  const fd = inNetns<number>(netns, () => netlinkSocket(protocol));
  try {
    setSocketOption(fd, SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER_BYTES, 'SO_RCVBUF');
    setSocketOption(fd, SOL_SOCKET, SO_SNDBUF, SEND_BUFFER_BYTES, 'SO_SNDBUF');
    setSocketOption(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, 1, 'NETLINK_NO_ENOBUFS');
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return {
    send: (datagram) => send(fd, datagram, 'netlink'),
    receive: () => receiveDatagram(fd),
    close: () => closeSync(fd),
  };
}

/** What is there on a netlink socket, without waiting; undefined when nothing is. @throws SyscallError; EMSGSIZE when it was too large. */
export function receiveDatagram(fd: number): Buffer | undefined {
  landing ??= Buffer.allocUnsafeSlow(DATAGRAM_LIMIT_BYTES);
  const length = receiveInto(fd, landing, 'netlink');
  if (length === undefined) return undefined;
  if (length > landing.length)
    throw new SyscallError('recv', constants.errno.EMSGSIZE, `a datagram of ${length} bytes`);
  return Buffer.from(landing.subarray(0, length));
}

import { closeSync } from 'node:fs';
import koffi from 'koffi';
import { SyscallError } from './libc.ts';
import { inNetns } from './netns.ts';

const libc = koffi.load('libc.so.6');
const socketCall = libc.func('int socket(int domain, int type, int protocol)');
const bindCall = libc.func('int bind(int fd, const void *address, uint32_t length)');
const sendtoCall = libc.func(
  'long sendto(int fd, const void *data, size_t length, int flags, const void *address, uint32_t addressLength)',
);
const recvCall = libc.func('long recv(int fd, _Out_ void *data, size_t length, int flags)');
const setsockoptCall = libc.func('int setsockopt(int fd, int level, int option, const void *value, uint32_t length)');
/** struct sock_fprog. */
const FilterProgram = koffi.struct('BerthFilterProgram', { length: 'uint16_t', instructions: koffi.pointer('void') });
const attachFilterCall = libc.func('setsockopt', 'int', [
  'int',
  'int',
  'int',
  koffi.pointer(FilterProgram),
  'uint32_t',
]);

const AF_PACKET = 17;
const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const MSG_DONTWAIT = 0x40;
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const SO_ATTACH_FILTER = 26;
const ETH_P_IP = 0x0800;
const SOCKADDR_LL_BYTES = 20;
const RECEIVE_BUFFER_BYTES = 256 * 1024;
const LARGEST_PACKET_BYTES = 65_535;

/** One instruction of classic BPF (linux/filter.h): code, jump if true, jump if false, operand. */
export type FilterInstruction = readonly [code: number, whenTrue: number, whenFalse: number, operand: number];

/**
 * IPv4 packets of one link below the kernel's own IP: sent from a link that has no address yet, received whatever address they are to.
 * What the kernel does with such a packet is not changed by it.
 */
export interface PacketSocket {
  /** Readable (EPOLLIN) while a packet waits. */
  readonly fd: number;
  /** `packet` begins with its IPv4 header; `mac` is 6 bytes, the next hop's or ff:ff:ff:ff:ff:ff. @throws SyscallError ENETDOWN while the link is down, ENXIO when it is gone. */
  send(packet: Uint8Array, mac: Uint8Array): void;
  /** The next packet that waits; undefined when none does. @throws SyscallError as `send`. */
  receive(): Buffer | undefined;
  close(): void;
}

/**
 * @param options.netns path of the link's network namespace; the process's own unless given
 * @param options.filter runs in the kernel over each packet from its IPv4 header on, so that a busy link's traffic does not come up here
 * @throws SyscallError EPERM without CAP_NET_RAW, ENODEV for a link that is not there
 */
export function openPacketSocket(options: {
  netns?: string;
  linkIndex: number;
  filter: readonly FilterInstruction[];
}): PacketSocket {
  const { linkIndex } = options;
  // Protocol 0: nothing is received before the filter is in place and the link is chosen.
  const fd = inNetns<number>(options.netns, () => socketCall(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (fd < 0) throw new SyscallError('socket', koffi.errno(), 'AF_PACKET');
  try {
    attachFilter(fd, options.filter);
    setsockoptCall(fd, SOL_SOCKET, SO_RCVBUF, u32(RECEIVE_BUFFER_BYTES), 4);
    const local = linkAddress(linkIndex);
    if (bindCall(fd, local, local.length) !== 0) throw new SyscallError('bind', koffi.errno(), `link ${linkIndex}`);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return {
    fd,
    send(packet, mac) {
      const to = linkAddress(linkIndex, mac);
      const sent = Number(sendtoCall(fd, packet, packet.length, MSG_DONTWAIT, to, to.length));
      if (sent < 0) throw new SyscallError('sendto', koffi.errno(), `link ${linkIndex}`);
    },
    receive() {
      const buffer = Buffer.allocUnsafe(LARGEST_PACKET_BYTES);
      const length = Number(recvCall(fd, buffer, buffer.length, MSG_DONTWAIT));
      if (length >= 0) return Buffer.from(buffer.subarray(0, length));
      const error = new SyscallError('recv', koffi.errno(), `link ${linkIndex}`);
      if (error.code === 'EAGAIN' || error.code === 'EWOULDBLOCK') return undefined;
      throw error;
    },
    close: () => closeSync(fd),
  };
}

function attachFilter(fd: number, filter: readonly FilterInstruction[]): void {
  const instructions = Buffer.alloc(filter.length * 8);
  for (const [index, [code, whenTrue, whenFalse, operand]] of filter.entries()) {
    instructions.writeUInt16LE(code, index * 8);
    instructions.writeUInt8(whenTrue, index * 8 + 2);
    instructions.writeUInt8(whenFalse, index * 8 + 3);
    instructions.writeUInt32LE(operand, index * 8 + 4);
  }
  const program = { length: filter.length, instructions };
  if (attachFilterCall(fd, SOL_SOCKET, SO_ATTACH_FILTER, program, koffi.sizeof(FilterProgram)) !== 0)
    throw new SyscallError('setsockopt', koffi.errno(), 'SO_ATTACH_FILTER');
}

/** struct sockaddr_ll; protocol and addresses are in network order. */
function linkAddress(linkIndex: number, mac?: Uint8Array): Buffer {
  const address = Buffer.alloc(SOCKADDR_LL_BYTES);
  address.writeUInt16LE(AF_PACKET, 0);
  address.writeUInt16BE(ETH_P_IP, 2);
  address.writeInt32LE(linkIndex, 4);
  if (mac) {
    address.writeUInt8(mac.length, 11);
    address.set(mac, 12);
  }
  return address;
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

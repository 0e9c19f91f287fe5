/**
 * The thread of the udp backend, a program of its own to Node's worker_threads: moves IP packets between the TUN device and a UDP socket, one
 * datagram a packet, as flannel does. It waits in poll(2), so that the process's event loop knows nothing of it.
 *
 * A packet costs two system calls and a look-up by its destination for each prefix length in use, which is one, however many nodes there are.
 */
import { constants } from 'node:os';
import { workerData } from 'node:worker_threads';
import koffi from 'koffi';
import { COMMAND_BYTES, decodeCommand, type MoverData, type MoverRoute } from './mover-protocol.ts';

const libc = koffi.load('libc.so.6');
const poll = libc.func('int poll(_Inout_ void *descriptors, unsigned long count, int timeoutMs)');
// Where data is, as a number: finding that out for a Buffer would take as long as the call itself, for each packet.
const read = libc.func('long read(int fd, uintptr_t data, size_t length)');
const write = libc.func('long write(int fd, uintptr_t data, size_t length)');
const sendto = libc.func(
  'long sendto(int fd, uintptr_t data, size_t length, int flags, uintptr_t address, uint32_t addressLength)',
);
const recvfrom = libc.func(
  'long recvfrom(int fd, uintptr_t data, size_t length, int flags, uintptr_t address, uintptr_t addressLength)',
);

const AF_INET = 2;
const MSG_DONTWAIT = 0x40;
const POLLIN = 1;
/** The device was deleted, or taken from us. */
const POLLERR = 8;
const POLLFD_BYTES = 8;
const SOCKADDR_BYTES = 16;
/** Of each direction, before the other and the commands have their turn. */
const BURST = 64;
const PACKET_LIMIT_BYTES = 65_535;
const IPV4_LEAST_BYTES = 20;
const DESTINATION_OFFSET = 16;

const { tun, socket, commands, port } = workerData as MoverData;
// None of these is ever let go, so that their places stay.
const buffer = Buffer.alloc(PACKET_LIMIT_BYTES);
const sender = Buffer.alloc(SOCKADDR_BYTES);
const senderLength = Buffer.alloc(4);
const records = Buffer.alloc(COMMAND_BYTES * BURST);
const bufferAt = koffi.address(buffer);
const senderAt = koffi.address(sender);
const senderLengthAt = koffi.address(senderLength);
const recordsAt = koffi.address(records);
/** A peer's struct sockaddr_in, and where it is. */
interface Destination {
  sockaddr: Buffer;
  at: number | bigint;
}

/** By prefix length, then by network. The longest first. */
let tables: { shift: number; peers: Map<number, Destination> }[] = [];
/** Who may send to us: the peers' addresses, with how many networks each has. */
const known = new Map<number, number>();

move();

function move(): void {
  const descriptors = Buffer.alloc(3 * POLLFD_BYTES);
  for (const [index, fd] of [tun, socket, commands].entries()) {
    descriptors.writeInt32LE(fd, index * POLLFD_BYTES);
    descriptors.writeInt16LE(POLLIN, index * POLLFD_BYTES + 4);
  }
  const happened = (index: number) => descriptors.readInt16LE(index * POLLFD_BYTES + 6);
  for (;;) {
    if (poll(descriptors, descriptors.length / POLLFD_BYTES, -1) < 0) {
      if (koffi.errno() === constants.errno.EINTR) continue;
      throw new Error(`udp overlay: poll: errno ${koffi.errno()}`);
    }
    if (happened(2) && !obey()) return;
    // As long as there are packets, asking for the next is cheaper than asking whether there is one.
    let turns = 0;
    while (turns++ < BURST) {
      const sent = happened(0) & POLLIN ? toPeer() : false;
      const received = happened(1) & POLLIN ? fromPeer() : false;
      if (!sent && !received) break;
    }
    if (happened(0) & POLLERR) throw new Error('udp overlay: the TUN device was deleted');
  }
}

/** @returns whether there was a packet. */
function toPeer(): boolean {
  const length = Number(read(tun, bufferAt, PACKET_LIMIT_BYTES));
  if (length <= 0) return false;
  // IPv6 of the device's own (router solicitations) goes nowhere.
  if (length < IPV4_LEAST_BYTES || buffer[0]! >> 4 !== 4) return true;
  const destination = find(buffer.readUInt32BE(DESTINATION_OFFSET));
  // A datagram that the kernel does not take is a lost packet, as on any network.
  if (destination) sendto(socket, bufferAt, length, MSG_DONTWAIT, destination.at, SOCKADDR_BYTES);
  return true;
}

function fromPeer(): boolean {
  senderLength.writeUInt32LE(SOCKADDR_BYTES);
  const length = Number(recvfrom(socket, bufferAt, PACKET_LIMIT_BYTES, MSG_DONTWAIT, senderAt, senderLengthAt));
  if (length < 0) return false;
  // What no node sent is no pod's: else anybody who reaches the port could speak for one.
  if (length >= IPV4_LEAST_BYTES && buffer[0]! >> 4 === 4 && known.has(sender.readUInt32BE(4)))
    write(tun, bufferAt, length);
  return true;
}

function find(destination: number): Destination | undefined {
  for (const { shift, peers } of tables) {
    const peer = peers.get(bitsOf(destination, shift));
    if (peer) return peer;
  }
  return undefined;
}

/** Shifting by 32 would be shifting by 0. */
function bitsOf(address: number, shift: number): number {
  return shift === 32 ? 0 : address >>> shift;
}

/** @returns false at the end. */
function obey(): boolean {
  // Whole ones: each was written at once, and this is a multiple.
  const length = Number(read(commands, recordsAt, records.length));
  // Whoever had the other end is gone.
  if (length === 0) return false;
  for (let at = 0; at + COMMAND_BYTES <= length; at += COMMAND_BYTES) {
    const command = decodeCommand(records.subarray(at, at + COMMAND_BYTES));
    if (command.kind === 'stop') return false;
    if (command.kind === 'set') set(command.route);
    else remove(command.route);
  }
  return true;
}

function set(route: MoverRoute): void {
  remove(route);
  const shift = 32 - route.prefixLength;
  let table = tables.find((one) => one.shift === shift);
  if (!table) {
    table = { shift, peers: new Map() };
    tables = [...tables, table].sort((one, other) => one.shift - other.shift);
  }
  const sockaddr = Buffer.alloc(SOCKADDR_BYTES);
  sockaddr.writeUInt16LE(AF_INET, 0);
  sockaddr.writeUInt16BE(port, 2);
  sockaddr.set(route.destination, 4);
  table.peers.set(bitsOf(toNumber(route.network), shift), { sockaddr, at: koffi.address(sockaddr) });
  const peer = toNumber(route.destination);
  known.set(peer, (known.get(peer) ?? 0) + 1);
}

function remove(route: MoverRoute): void {
  const shift = 32 - route.prefixLength;
  const table = tables.find((one) => one.shift === shift);
  const key = bitsOf(toNumber(route.network), shift);
  const destination = table?.peers.get(key);
  if (!table || !destination) return;
  table.peers.delete(key);
  if (table.peers.size === 0) tables = tables.filter((one) => one !== table);
  const peer = destination.sockaddr.readUInt32BE(4);
  const left = (known.get(peer) ?? 1) - 1;
  if (left > 0) known.set(peer, left);
  else known.delete(peer);
}

function toNumber(bytes: Uint8Array): number {
  return Buffer.from(bytes).readUInt32BE(0);
}

/**
 * A wire between two links of this network namespace, with the network card's part in it: `wire-child.ts LINK LINK broken|sound`. The sender's
 * kernel leaves checksums to the card; this one makes those of plain packets and, only when it is sound, those of packets in packets.
 * Ends with its parent's signal.
 */
import { readFileSync } from 'node:fs';
import koffi from 'koffi';

const libc = koffi.load('libc.so.6');
const socket = libc.func('int socket(int domain, int type, int protocol)');
const bind = libc.func('int bind(int fd, const void *address, uint32_t length)');
const setsockopt = libc.func('int setsockopt(int fd, int level, int option, const int32_t *value, uint32_t length)');
const recv = libc.func('long recv(int fd, _Out_ void *data, size_t length, int flags)');
const send = libc.func('long send(int fd, const void *data, size_t length, int flags)');
const poll = libc.func('int poll(_Inout_ void *descriptors, unsigned long count, int timeoutMs)');

const AF_PACKET = 17;
const SOCK_RAW = 3;
const ETH_P_ALL_BE = 0x0300;
const SOL_PACKET = 263;
const PACKET_VNET_HDR = 15;
const PACKET_IGNORE_OUTGOING = 23;
const MSG_DONTWAIT = 0x40;
/** struct virtio_net_hdr: what of the checksum is still to be made. */
const HEADER_BYTES = 10;
const NEEDS_CSUM = 1;
/** Behind Ethernet and IPv4: a transport header further in is that of a packet in a packet. */
const OUTER_TRANSPORT = 34;

const [one, other, quality] = process.argv.slice(2);
const ends = [open(one!), open(other!)] as const;
process.stdout.write('ready\n');
const buffer = Buffer.alloc(70_000);
const descriptors = Buffer.alloc(16);
for (;;) {
  for (const [index, fd] of ends.entries()) {
    descriptors.writeInt32LE(fd, index * 8);
    descriptors.writeUInt32LE(1, index * 8 + 4);
  }
  poll(descriptors, 2, -1);
  pass(ends[0], ends[1]);
  pass(ends[1], ends[0]);
}

function pass(from: number, to: number): void {
  for (;;) {
    const length = Number(recv(from, buffer, buffer.length, MSG_DONTWAIT));
    if (length <= HEADER_BYTES) return;
    const frame = buffer.subarray(HEADER_BYTES, length);
    const start = buffer.readUInt16LE(6);
    const needsChecksum = (buffer[0]! & NEEDS_CSUM) !== 0;
    if (needsChecksum && (quality === 'sound' || start <= OUTER_TRANSPORT))
      frame.writeUInt16BE(checksum(frame.subarray(start)), start + buffer.readUInt16LE(8));
    buffer.fill(0, 0, HEADER_BYTES);
    send(to, buffer.subarray(0, length), length, 0);
  }
}

/** RFC 1071. A sum of zero is sent as all ones. */
function checksum(data: Buffer): number {
  let sum = 0;
  for (let at = 0; at + 1 < data.length; at += 2) sum += data.readUInt16BE(at);
  if (data.length % 2 === 1) sum += data[data.length - 1]! << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return ~sum & 0xffff || 0xffff;
}

function open(link: string): number {
  const fd = socket(AF_PACKET, SOCK_RAW, ETH_P_ALL_BE);
  for (const option of [PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING]) setsockopt(fd, SOL_PACKET, option, [1], 4);
  // struct sockaddr_ll
  const address = Buffer.alloc(20);
  address.writeUInt16LE(AF_PACKET, 0);
  address.writeUInt16LE(ETH_P_ALL_BE, 2);
  address.writeInt32LE(Number(readFileSync(`/sys/class/net/${link}/ifindex`, 'utf8')), 4);
  if (fd < 0 || bind(fd, address, address.length) !== 0) throw new Error(`wire: cannot listen on ${link}`);
  return fd;
}

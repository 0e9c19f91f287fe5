import { closeSync } from 'node:fs';
import koffi from 'koffi';
import { parseIp } from '../../src/linux/ip.ts';
import { parseMac } from '../../src/linux/netlink/links.ts';
import { withNetns } from '../../src/linux/netns.ts';

const libc = koffi.load('libc.so.6');
const socket = libc.func('int socket(int domain, int type, int protocol)');
const sendto = libc.func(
  'long sendto(int fd, const void *data, size_t length, int flags, const void *address, uint32_t addressLength)',
);

const AF_PACKET = 17;
const SOCK_RAW = 3;
const ETHERTYPE_IPV6 = 0x86dd;
const ALL_NODES = 'ff02::1';
const ALL_NODES_MAC = '33:33:00:00:00:01';
const ICMPV6 = 58;

/** Sends what a router tells its neighbours (RFC 4861): itself as default router, and a /64 to take an address of. From a link in a namespace. */
export function sendRouterAdvertisement(netns: string, link: { index: number; mac: string }, prefix: string): void {
  const frame = buildAdvertisement(link.mac, prefix);
  const address = Buffer.alloc(20);
  address.writeUInt16LE(AF_PACKET, 0);
  address.writeUInt16BE(ETHERTYPE_IPV6, 2);
  address.writeInt32LE(link.index, 4);
  withNetns<void>(netns, () => {
    const fd = socket(AF_PACKET, SOCK_RAW, 0) as number;
    try {
      const sent = Number(sendto(fd, frame, frame.length, 0, address, address.length));
      if (sent !== frame.length) throw new Error(`sendto: errno ${koffi.errno()}`);
    } finally {
      closeSync(fd);
    }
  });
}

function buildAdvertisement(mac: string, prefix: string): Buffer {
  const source = Buffer.from(parseIp('fe80::bad'));
  const destination = Buffer.from(parseIp(ALL_NODES));
  const lifetimes = Buffer.alloc(8);
  lifetimes.writeUInt32BE(3600, 0);
  lifetimes.writeUInt32BE(3600, 4);
  const message = Buffer.concat([
    // Type, code, checksum, hop limit, flags, router lifetime 1800 s, reachable time, retransmission.
    Buffer.from([134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0]),
    Buffer.from([1, 1]),
    parseMac(mac),
    // Prefix of 64 bits, on the link, for addresses of one's own.
    Buffer.from([3, 4, 64, 0xc0]),
    lifetimes,
    Buffer.alloc(4),
    parseIp(prefix),
  ]);
  message.writeUInt16BE(checksum(Buffer.concat([source, destination, pseudoTail(message.length), message])), 2);
  const header = Buffer.alloc(8);
  header[0] = 0x60;
  header.writeUInt16BE(message.length, 4);
  header[6] = ICMPV6;
  header[7] = 255;
  const ethernet = Buffer.concat([parseMac(ALL_NODES_MAC), parseMac(mac), Buffer.from([0x86, 0xdd])]);
  return Buffer.concat([ethernet, header, source, destination, message]);
}

function pseudoTail(length: number): Buffer {
  const tail = Buffer.alloc(8);
  tail.writeUInt32BE(length, 0);
  tail[7] = ICMPV6;
  return tail;
}

function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let index = 0; index < bytes.length; index += 2) sum += bytes.readUInt16BE(index);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}

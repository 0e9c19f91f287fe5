import { formatIp, parseIp } from '../../../src/linux/ip.ts';
import type { FilterInstruction } from '../../../src/linux/packet-socket.ts';

export const SERVER_PORT = 67;
export const CLIENT_PORT = 68;
const IP_HEADER_BYTES = 20;
const UDP_HEADER_BYTES = 8;
const UDP = 17;
const TIME_TO_LIVE = 64;
/** Internetwork control, as DHCP clients mark what a link must not drop first. */
const TYPE_OF_SERVICE = 0x10;

/** Passes unfragmented UDP to the client's port; `ld`, `jeq`, … of linux/bpf_common.h. */
export const CLIENT_FILTER: readonly FilterInstruction[] = [
  [0x30, 0, 0, 9], // ldb protocol
  [0x15, 0, 6, UDP], // jeq udp
  [0x28, 0, 0, 6], // ldh fragment
  [0x45, 4, 0, 0x1fff], // jset offset → drop
  [0xb1, 0, 0, 0], // ldx length of the IP header
  [0x48, 0, 0, 2], // ldh destination port
  [0x15, 0, 1, CLIENT_PORT], // jeq
  [0x06, 0, 0, 0xffff], // accept
  [0x06, 0, 0, 0], // drop
];

export interface Datagram {
  source: string;
  destination: string;
  sourcePort: number;
  destinationPort: number;
  payload: Uint8Array;
}

/** An IPv4 packet with checksums. */
export function renderDatagram({ source, destination, sourcePort, destinationPort, payload }: Datagram): Buffer {
  const packet = Buffer.alloc(IP_HEADER_BYTES + UDP_HEADER_BYTES + payload.length);
  packet[0] = 0x45;
  packet[1] = TYPE_OF_SERVICE;
  packet.writeUInt16BE(packet.length, 2);
  packet[8] = TIME_TO_LIVE;
  packet[9] = UDP;
  packet.set(parseIp(source), 12);
  packet.set(parseIp(destination), 16);
  packet.writeUInt16BE(checksum(packet.subarray(0, IP_HEADER_BYTES)), 10);
  const udp = packet.subarray(IP_HEADER_BYTES);
  udp.writeUInt16BE(sourcePort, 0);
  udp.writeUInt16BE(destinationPort, 2);
  udp.writeUInt16BE(udp.length, 4);
  udp.set(payload, UDP_HEADER_BYTES);
  const pseudo = Buffer.alloc(12);
  packet.copy(pseudo, 0, 12, 20);
  pseudo[9] = UDP;
  pseudo.writeUInt16BE(udp.length, 10);
  // A sum of zero would say that there is none.
  udp.writeUInt16BE(checksum(Buffer.concat([pseudo, udp])) || 0xffff, 6);
  return packet;
}

/**
 * The sum of UDP is not looked at: a sender on the same host leaves it to hardware that a virtual link does not have, and what arrives
 * here has only half of it. Transaction and hardware address of the message tell what is ours.
 * @returns undefined for what is no whole datagram of UDP.
 */
export function parseDatagram(packet: Buffer): Datagram | undefined {
  if (packet.length < IP_HEADER_BYTES || packet[0]! >> 4 !== 4 || packet[9] !== UDP) return undefined;
  const headerBytes = (packet[0]! & 15) * 4;
  const end = packet.readUInt16BE(2);
  if (headerBytes < IP_HEADER_BYTES || end > packet.length || end < headerBytes + UDP_HEADER_BYTES) return undefined;
  if (checksum(packet.subarray(0, headerBytes)) !== 0) return undefined;
  const udp = packet.subarray(headerBytes, end);
  const length = udp.readUInt16BE(4);
  if (length < UDP_HEADER_BYTES || length > udp.length) return undefined;
  return {
    source: formatIp(packet.subarray(12, 16)),
    destination: formatIp(packet.subarray(16, 20)),
    sourcePort: udp.readUInt16BE(0),
    destinationPort: udp.readUInt16BE(2),
    payload: udp.subarray(UDP_HEADER_BYTES, length),
  };
}

/** RFC 1071; 0 over what has its sum in it. */
function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let at = 0; at + 1 < bytes.length; at += 2) sum += bytes.readUInt16BE(at);
  if (bytes.length % 2 === 1) sum += bytes[bytes.length - 1]! << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

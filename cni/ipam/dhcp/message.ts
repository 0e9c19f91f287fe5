import { formatIp, parseIp } from '../../../src/linux/ip.ts';

/** Values of option 53 (RFC 2132, 9.6). */
export const MESSAGE_TYPE = { discover: 1, offer: 2, request: 3, decline: 4, ack: 5, nak: 6, release: 7 } as const;

/** Options that the client itself reads or writes (RFC 2132, RFC 3442). */
export const OPTION = {
  subnetMask: 1,
  routers: 3,
  nameservers: 6,
  hostName: 12,
  domainName: 15,
  interfaceMtu: 26,
  staticRoutes: 33,
  requestedAddress: 50,
  leaseTime: 51,
  overload: 52,
  messageType: 53,
  serverIdentifier: 54,
  parameterRequestList: 55,
  message: 56,
  largestMessage: 57,
  renewalTime: 58,
  rebindingTime: 59,
  vendorClass: 60,
  clientIdentifier: 61,
  userClass: 77,
  domainSearch: 119,
  classlessRoutes: 121,
} as const;

/** A message of DHCP for IPv4 (RFC 2131, 2), as far as it matters to a client on the link. */
export interface DhcpMessage {
  op: 'request' | 'reply';
  /** 32 bits; the answer has the question's. */
  transaction: number;
  /** Seconds since the client began. */
  seconds: number;
  /** The client can't receive what is sent to an address that it does not have yet. */
  broadcast: boolean;
  /** `ciaddr`: the address that the client has and answers to; 0.0.0.0 else. */
  clientAddress: string;
  /** `yiaddr`: the address that the server gives. */
  yourAddress: string;
  /** 6 bytes, or 16 at most on other links. */
  hardwareAddress: Uint8Array;
  /** By number; what was split over several is joined (RFC 3396). */
  options: ReadonlyMap<number, Uint8Array>;
}

const FIXED_BYTES = 236;
const COOKIE = 0x6382_5363;
/** Some relays and servers drop what is smaller than a BOOTP message. */
const SMALLEST_BYTES = 300;
const BROADCAST_FLAG = 0x8000;
const PAD = 0;
const END = 255;
const MOST_IN_OPTION = 255;

export function renderMessage(message: DhcpMessage): Buffer {
  const header = Buffer.alloc(FIXED_BYTES + 4);
  header[0] = message.op === 'request' ? 1 : 2;
  // Ethernet; other links are refused before.
  header[1] = 1;
  header[2] = message.hardwareAddress.length;
  header.writeUInt32BE(message.transaction, 4);
  header.writeUInt16BE(Math.min(message.seconds, 0xffff), 8);
  header.writeUInt16BE(message.broadcast ? BROADCAST_FLAG : 0, 10);
  header.set(parseIp(message.clientAddress), 12);
  header.set(parseIp(message.yourAddress), 16);
  header.set(message.hardwareAddress, 28);
  header.writeUInt32BE(COOKIE, FIXED_BYTES);
  const options = [...message.options].flatMap(([code, value]) => renderOption(code, value));
  const bytes = Buffer.concat([header, ...options, Buffer.from([END])]);
  return bytes.length >= SMALLEST_BYTES ? bytes : Buffer.concat([bytes, Buffer.alloc(SMALLEST_BYTES - bytes.length)]);
}

function renderOption(code: number, value: Uint8Array): Uint8Array[] {
  const parts: Uint8Array[] = [];
  for (let at = 0; at === 0 || at < value.length; at += MOST_IN_OPTION) {
    const part = value.subarray(at, at + MOST_IN_OPTION);
    parts.push(Buffer.from([code, part.length]), part);
  }
  return parts;
}

/** @returns undefined for what is no DHCP message: packets of others come by on the same port. */
export function parseMessage(bytes: Uint8Array): DhcpMessage | undefined {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (buffer.length < FIXED_BYTES + 4 || buffer.readUInt32BE(FIXED_BYTES) !== COOKIE) return undefined;
  const op = buffer[0] === 1 ? 'request' : buffer[0] === 2 ? 'reply' : undefined;
  const hardwareLength = buffer[2]!;
  if (op === undefined || hardwareLength > 16) return undefined;
  const options = new Map<number, Uint8Array>();
  if (!readOptions(buffer.subarray(FIXED_BYTES + 4), options)) return undefined;
  // Options may go on in the fields of the boot file's and the server's names.
  const overload = options.get(OPTION.overload)?.[0] ?? 0;
  if (overload & 1 && !readOptions(buffer.subarray(108, 236), options)) return undefined;
  if (overload & 2 && !readOptions(buffer.subarray(44, 108), options)) return undefined;
  return {
    op,
    transaction: buffer.readUInt32BE(4),
    seconds: buffer.readUInt16BE(8),
    broadcast: (buffer.readUInt16BE(10) & BROADCAST_FLAG) !== 0,
    clientAddress: formatIp(buffer.subarray(12, 16)),
    yourAddress: formatIp(buffer.subarray(16, 20)),
    hardwareAddress: Uint8Array.from(buffer.subarray(28, 28 + hardwareLength)),
    options,
  };
}

/** @returns false when an option runs over the end. */
function readOptions(area: Buffer, options: Map<number, Uint8Array>): boolean {
  for (let at = 0; at < area.length; ) {
    const code = area[at]!;
    if (code === END) return true;
    if (code === PAD) {
      at += 1;
      continue;
    }
    const length = area[at + 1];
    if (length === undefined || at + 2 + length > area.length) return false;
    const value = area.subarray(at + 2, at + 2 + length);
    options.set(code, Buffer.concat([options.get(code) ?? Buffer.alloc(0), value]));
    at += 2 + length;
  }
  // Without an end the area's own is one.
  return true;
}

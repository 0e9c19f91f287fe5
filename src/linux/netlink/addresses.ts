import { formatIp, lastAddressOf, parsePrefix } from '../ip.ts';
import { bytes, LITTLE_ENDIAN, readAttributes, readText, readU32, u32 } from './attributes.ts';
import {
  AF_INET,
  AF_INET6,
  IFA_ADDRESS,
  IFA_BROADCAST,
  IFA_FLAGS,
  IFA_LABEL,
  IFA_LOCAL,
  RT_SCOPE_HOST,
  RT_SCOPE_LINK,
  RT_SCOPE_UNIVERSE,
} from './constants.ts';

export interface Address {
  linkIndex: number;
  /** With the prefix length: `10.244.1.1/24`. */
  address: string;
  scope: 'global' | 'link' | 'host';
  broadcast?: string;
  label?: string;
  /** IFA_F_* bits. */
  flags: number;
}

export interface AddressSpec {
  linkIndex: number;
  address: string;
  /** Default: host for loopback addresses, else global. */
  scope?: Address['scope'];
  /** IPv6: whether it is used only once no neighbour has answered for it. Default: at once. */
  duplicateDetection?: boolean;
  /** Without the route to its subnet. */
  noPrefixRoute?: boolean;
}

const SCOPES = { global: RT_SCOPE_UNIVERSE, link: RT_SCOPE_LINK, host: RT_SCOPE_HOST } as const;

/** IFA_F_NODAD: an IPv6 address is usable at once. */
export const IFA_F_NODAD = 0x02;
const IFA_F_NOPREFIXROUTE = 0x200;

/** struct ifaddrmsg and attributes. An IPv4 address gets its subnet's broadcast address (not for /31, /32). */
export function encodeAddress(spec: AddressSpec): Uint8Array[] {
  const prefix = parsePrefix(spec.address);
  const v4 = prefix.family === 4;
  const loopback = v4 ? prefix.address[0] === 127 : formatIp(prefix.address) === '::1';
  const header = Buffer.alloc(8);
  header[0] = v4 ? AF_INET : AF_INET6;
  header[1] = prefix.prefixLength;
  header[3] = SCOPES[spec.scope ?? (loopback ? 'host' : 'global')];
  if (LITTLE_ENDIAN) header.writeUInt32LE(spec.linkIndex, 4);
  else header.writeUInt32BE(spec.linkIndex, 4);
  const broadcast = v4 && !loopback && prefix.prefixLength < 31 ? lastAddressOf(prefix) : undefined;
  return [
    header,
    ...bytes(IFA_LOCAL, prefix.address),
    ...bytes(IFA_ADDRESS, prefix.address),
    ...(broadcast ? bytes(IFA_BROADCAST, broadcast) : []),
    ...(addressFlags(spec, v4) === 0 ? [] : u32(IFA_FLAGS, addressFlags(spec, v4))),
  ];
}

function addressFlags({ duplicateDetection, noPrefixRoute }: AddressSpec, v4: boolean): number {
  return (v4 || duplicateDetection ? 0 : IFA_F_NODAD) | (noPrefixRoute ? IFA_F_NOPREFIXROUTE : 0);
}

export function decodeAddress(body: Buffer): Address | undefined {
  if (body[0] !== AF_INET && body[0] !== AF_INET6) return undefined;
  const attributes = readAttributes(body, 8);
  // For point-to-point links IFA_ADDRESS is the other end; IFA_LOCAL is ours. IPv6 mostly has only IFA_ADDRESS.
  const local = attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS);
  if (!local) return undefined;
  const broadcast = attributes.get(IFA_BROADCAST);
  const label = attributes.get(IFA_LABEL);
  const flags = attributes.get(IFA_FLAGS);
  return {
    linkIndex: readU32(body, 4),
    address: `${formatIp(local)}/${body[1]}`,
    scope: body[3] === RT_SCOPE_HOST ? 'host' : body[3] === RT_SCOPE_LINK ? 'link' : 'global',
    broadcast: broadcast && formatIp(broadcast),
    label: label && readText(label),
    flags: flags ? readU32(flags) : body[2]!,
  };
}

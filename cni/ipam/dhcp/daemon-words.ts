import { formatIp, parseIp, parsePrefix } from '../../../src/linux/ip.ts';
import {
  type AttachmentKey,
  CNI_ERROR,
  type CniDns,
  CniError,
  type CniIp,
  type CniResult,
  type CniRoute,
} from '../../types.ts';
import type { SendableStruct, StructSchema } from './gob/encoder.ts';
import type { GobValue } from './gob/values.ts';
import { readStruct } from './rpc/headers.ts';

/**
 * What plugin and daemon say to each other: the reference ones' arguments and results, which are Go's `skel.CmdArgs` and
 * `types/100.Result` of the CNI library. Each side passes over fields that it does not know.
 */
export const METHOD = {
  allocate: 'DHCP.Allocate',
  release: 'DHCP.Release',
  /** Ours alone, and under a name of ours: whatever the reference daemon may learn, it does not take these for its own. */
  check: 'Berth.Check',
  gc: 'Berth.GC',
  status: 'Berth.Status',
} as const;

/** A call of a plugin, as its daemon hears of it. */
export interface DaemonCall {
  containerId: string;
  /** Absolute; empty for a DEL that was not told it. */
  netns: string;
  ifname: string;
  /** CNI_ARGS, as it was. */
  args: string;
  /** The whole configuration, in JSON. */
  conf: string;
  /** Check: the container's. */
  address?: string;
  /** GC: what is to stay. */
  valid?: readonly AttachmentKey[];
}

const ATTACHMENT: StructSchema = { name: 'Attachment', fields: { ContainerID: 'string', IfName: 'string' } };
export const CMD_ARGS: StructSchema = {
  name: 'CmdArgs',
  fields: {
    ContainerID: 'string',
    Netns: 'string',
    IfName: 'string',
    Args: 'string',
    Path: 'string',
    StdinData: 'bytes',
    Address: 'string',
    Valid: { elements: ATTACHMENT },
  },
};

export function renderCall({ containerId, netns, ifname, args, conf, address, valid }: DaemonCall): SendableStruct {
  return {
    ContainerID: containerId,
    Netns: netns,
    IfName: ifname,
    Args: args,
    StdinData: Buffer.from(conf),
    Address: address,
    Valid: valid?.map((one) => ({ ContainerID: one.containerId, IfName: one.ifname })),
  };
}

/** @throws GobError for fields of other types. */
export function parseCall(value: GobValue): DaemonCall {
  const { text, bytes, list } = readStruct(value);
  return {
    containerId: text('ContainerID'),
    netns: text('Netns'),
    ifname: text('IfName'),
    args: text('Args'),
    conf: Buffer.from(bytes('StdinData')).toString('utf8'),
    address: text('Address') || undefined,
    valid: list('Valid').map((one) => {
      const attachment = readStruct(one);
      return { containerId: attachment.text('ContainerID'), ifname: attachment.text('IfName') };
    }),
  };
}

const IP_NET: StructSchema = { name: 'IPNet', fields: { IP: 'bytes', Mask: 'bytes' } };
const IP_CONFIG: StructSchema = { name: 'IPConfig', fields: { Address: IP_NET, Gateway: 'bytes' } };
const ROUTE: StructSchema = {
  name: 'Route',
  fields: { Dst: IP_NET, GW: 'bytes', MTU: 'int', AdvMSS: 'int', Priority: 'int', Table: 'int', Scope: 'int' },
};
const TEXTS = { elements: 'string' } as const;
const DNS: StructSchema = {
  name: 'DNS',
  fields: { Nameservers: TEXTS, Domain: 'string', Search: TEXTS, Options: TEXTS },
};
export const RESULT: StructSchema = {
  name: 'Result',
  fields: { CNIVersion: 'string', IPs: { elements: IP_CONFIG }, Routes: { elements: ROUTE }, DNS },
};

/** What an address manager gives; interfaces are not its matter. */
export function renderDaemonResult({ ips, routes, dns = {} }: CniResult): SendableStruct {
  return {
    IPs: ips.map(({ address, gateway }) => ({ Address: renderIpNet(address), Gateway: gateway && parseIp(gateway) })),
    Routes: routes.map(({ dst, gw, mtu, advmss, priority, table, scope }) => ({
      Dst: renderIpNet(dst),
      GW: gw && parseIp(gw),
      MTU: mtu,
      AdvMSS: advmss,
      Priority: priority,
      Table: table,
      Scope: scope,
    })),
    DNS: { Nameservers: dns.nameservers, Domain: dns.domain, Search: dns.search, Options: dns.options },
  };
}

/** @throws GobError for fields of other types; CniError 6 for what is no address. */
export function parseDaemonResult(value: GobValue): CniResult {
  const { list, struct } = readStruct(value);
  const ips = list('IPs').map((one): CniIp => {
    const { struct: part, bytes } = readStruct(one);
    const gateway = addressOf(bytes('Gateway'));
    return { address: prefixOf(part('Address')), ...(gateway && { gateway }) };
  });
  const routes = list('Routes').map((one): CniRoute => {
    const { struct: part, bytes, integer } = readStruct(one);
    const gw = addressOf(bytes('GW'));
    const number = (key: string, name: string) => integer(name) !== 0 && { [key]: Number(integer(name)) };
    return {
      dst: prefixOf(part('Dst')),
      ...(gw && { gw }),
      ...number('mtu', 'MTU'),
      ...number('advmss', 'AdvMSS'),
      ...number('priority', 'Priority'),
      ...number('table', 'Table'),
      ...number('scope', 'Scope'),
    };
  });
  const dns = dnsOf(struct('DNS'));
  return { interfaces: [], ips, routes, ...(dns && { dns }) };
}

function dnsOf(value: GobValue): CniDns | undefined {
  const { text, list } = readStruct(value);
  const found: CniDns = {};
  for (const [key, name] of [
    ['nameservers', 'Nameservers'],
    ['search', 'Search'],
    ['options', 'Options'],
  ] as const)
    if (list(name).length > 0) found[key] = list(name).map(String);
  if (text('Domain') !== '') found.domain = text('Domain');
  return Object.keys(found).length > 0 ? found : undefined;
}

function renderIpNet(cidr: string): SendableStruct {
  const { address, prefixLength } = parsePrefix(cidr);
  const mask = Uint8Array.from(address, (_, byte) => 0xff00 >> Math.min(8, Math.max(0, prefixLength - byte * 8)));
  return { IP: address, Mask: mask };
}

function prefixOf(value: GobValue): string {
  const { bytes } = readStruct(value);
  const address = addressOf(bytes('IP'));
  const length = address === undefined ? undefined : prefixLengthOf(bytes('Mask'), address.includes(':') ? 16 : 4);
  if (length === undefined) throw wrong('an address');
  return `${address}/${length}`;
}

const MAPPED = Uint8Array.from([...Array<number>(10).fill(0), 0xff, 0xff]);

/** Go keeps IPv4 addresses in 4 bytes or in 16. */
function addressOf(bytes: Uint8Array): string | undefined {
  if (bytes.length === 0) return undefined;
  if (bytes.length !== 4 && bytes.length !== 16) throw wrong('an address');
  const isMapped = bytes.length === 16 && Buffer.compare(bytes.subarray(0, 12), MAPPED) === 0;
  return formatIp(isMapped ? bytes.subarray(12) : bytes);
}

function prefixLengthOf(mask: Uint8Array, addressBytes: number): number {
  if (mask.length < addressBytes) throw wrong('a mask');
  const bits = [...mask.subarray(mask.length - addressBytes)].map((byte) => byte.toString(2).padStart(8, '0')).join('');
  const length = bits.indexOf('0') < 0 ? bits.length : bits.indexOf('0');
  if (bits.includes('1', length)) throw wrong('a mask');
  return length;
}

const wrong = (what: string) =>
  new CniError(CNI_ERROR.decodeFailure, `dhcp: ${what} in the daemon's result is not as it must be`);

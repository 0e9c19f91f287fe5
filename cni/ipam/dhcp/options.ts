import { formatIp, networkOf, parseIp } from '../../../src/linux/ip.ts';
import { CNI_ERROR, type CniDns, CniError, type CniResult, type CniRoute } from '../../types.ts';
import { type DhcpMessage, OPTION } from './message.ts';

/** What the client asks for and what it tells of itself, beside its identifier. */
export interface ClientOptions {
  /** Numbers of options that the server is asked for. */
  request: readonly number[];
  /** Options that go with every message to the server. */
  provide: readonly (readonly [code: number, value: Uint8Array])[];
}

/** Names of dhcp-options(5), as far as the reference plugin knows them; all others are numbers. */
const NAMES: ReadonlyMap<string, number> = new Map([
  ['dhcp-client-identifier', OPTION.clientIdentifier],
  ['subnet-mask', OPTION.subnetMask],
  ['routers', OPTION.routers],
  ['host-name', OPTION.hostName],
  ['user-class', OPTION.userClass],
  ['vendor-class-identifier', OPTION.vendorClass],
]);

/** What the client's part of the protocol is made of. */
const OF_THE_CLIENT: readonly number[] = [
  OPTION.requestedAddress,
  OPTION.overload,
  OPTION.messageType,
  OPTION.serverIdentifier,
  OPTION.parameterRequestList,
  OPTION.largestMessage,
];
const ASKED_ALWAYS = [OPTION.routers, OPTION.subnetMask];
const LONGEST_VALUE_BYTES = 255;
/** Prefix lengths of the classes of old, which option 33 goes by. */
const CLASSES = [
  { below: 128, prefixLength: 8 },
  { below: 192, prefixLength: 16 },
  { below: 224, prefixLength: 24 },
];
const RT_SCOPE_LINK = 253;

/**
 * `ipam.request` and `ipam.provide`; a value comes from the configuration or, by `fromArg`, from CNI_ARGS, which wins.
 * @throws CniError 7 naming the entry.
 */
export function parseClientOptions(
  ipam: { request: readonly unknown[]; provide: readonly unknown[] },
  args: Readonly<Record<string, string>>,
): ClientOptions {
  const request = new Set<number>();
  let asksAlways = true;
  for (const one of ipam.request) {
    const { option, skipDefault } = entry('request', one) as { option?: unknown; skipDefault?: unknown };
    if (skipDefault === true) asksAlways = false;
    if (option !== undefined && option !== '') request.add(parseOptionCode('request', option));
  }
  if (asksAlways) for (const code of ASKED_ALWAYS) request.add(code);
  const provide = new Map<number, Uint8Array>();
  for (const one of ipam.provide) {
    const { option, value, fromArg } = entry('provide', one) as Record<string, unknown>;
    const code = parseOptionCode('provide', option);
    if (OF_THE_CLIENT.includes(code)) throw wrong('provide', one, `option ${code} is the client's own`);
    const told = (typeof fromArg === 'string' ? args[fromArg] : undefined) ?? value;
    if (told === undefined || told === '') continue;
    if (typeof told !== 'string') throw wrong('provide', one, 'its value is no text');
    const bytes = Buffer.from(told);
    if (bytes.length > LONGEST_VALUE_BYTES)
      throw wrong('provide', one, `its value has ${bytes.length} bytes, 255 at most`);
    provide.set(code, bytes);
  }
  return { request: [...request], provide: [...provide] };
}

function entry(list: string, one: unknown): object {
  if (typeof one !== 'object' || one === null) throw wrong(list, one, 'it is no object');
  return one;
}

function parseOptionCode(list: string, option: unknown): number {
  const named = NAMES.get(String(option));
  if (named !== undefined) return named;
  const code = /^\d{1,3}$/.test(String(option)) ? Number(option) : Number.NaN;
  if (code >= 1 && code <= 254) return code;
  throw wrong(list, option, `options are numbers from 1 to 254, or ${[...NAMES.keys()].join(', ')}`);
}

function wrong(list: string, value: unknown, why: string): CniError {
  return new CniError(CNI_ERROR.invalidNetworkConfig, `dhcp: ipam.${list}: ${JSON.stringify(value)}: ${why}`);
}

/** What the plugin makes of a server's answer. */
export interface ResultOptions {
  /** Of all routes; the kernel's own unless given. */
  priority?: number;
  /** Neither gateway nor default route, whatever the server says. */
  suppressGateway?: boolean;
}

/** @throws CniError 0 when the server did not say how large the subnet is. */
export function resultOf(ack: DhcpMessage): CniResult {
  const mask = ack.options.get(OPTION.subnetMask);
  if (mask?.length !== 4)
    throw new CniError(CNI_ERROR.unknown, 'DHCP option Subnet Mask not found in DHCPACK', {
      details: `the server gave ${ack.yourAddress}; have it send option 1`,
    });
  const gateway = addressesOf(ack, OPTION.routers)[0];
  const dns = dnsOf(ack);
  return {
    interfaces: [],
    ips: [{ address: `${ack.yourAddress}/${prefixLengthOf(mask)}`, ...(gateway && { gateway }) }],
    routes: routesOf(ack, gateway),
    ...(dns && { dns }),
  };
}

/** Twice is as once: a daemon may have done so already. */
export function withResultOptions(result: CniResult, { priority, suppressGateway }: ResultOptions): CniResult {
  const routes = result.routes
    .filter(({ dst }) => !(suppressGateway && dst === DEFAULT_ROUTE))
    .map((route) => ({ ...route, ...(priority && { priority }) }));
  const ips = suppressGateway ? result.ips.map(({ gateway, ...ip }) => ip) : result.ips;
  return { ...result, ips, routes };
}

const DEFAULT_ROUTE = '0.0.0.0/0';

/** Where there are classless routes, neither the classful ones nor the routers count (RFC 3442). */
function routesOf(ack: DhcpMessage, gateway: string | undefined): CniRoute[] {
  const classless = classlessRoutes(ack.options.get(OPTION.classlessRoutes) ?? new Uint8Array());
  if (classless.length > 0) return classless;
  const routes: CniRoute[] = [];
  const classful = ack.options.get(OPTION.staticRoutes) ?? new Uint8Array();
  for (let at = 0; at + 8 <= classful.length; at += 8) {
    const address = classful.subarray(at, at + 4);
    const prefixLength = CLASSES.find(({ below }) => address[0]! < below)?.prefixLength ?? 32;
    const subnet = networkOf({ family: 4, address, prefixLength });
    routes.push({
      dst: `${formatIp(subnet.address)}/${prefixLength}`,
      gw: formatIp(classful.subarray(at + 4, at + 8)),
    });
  }
  if (gateway) routes.push({ dst: DEFAULT_ROUTE, gw: gateway });
  return routes;
}

/** Prefix length, as many bytes of the subnet as matter, router. A router of zeros: on the link itself. */
function classlessRoutes(bytes: Uint8Array): CniRoute[] {
  const routes: CniRoute[] = [];
  for (let at = 0; at < bytes.length; ) {
    const prefixLength = bytes[at]!;
    const significant = Math.ceil(prefixLength / 8);
    if (prefixLength > 32 || at + 1 + significant + 4 > bytes.length) return [];
    const address = new Uint8Array(4);
    address.set(bytes.subarray(at + 1, at + 1 + significant));
    const subnet = networkOf({ family: 4, address, prefixLength });
    const gw = formatIp(bytes.subarray(at + 1 + significant, at + 5 + significant));
    routes.push({
      dst: `${formatIp(subnet.address)}/${prefixLength}`,
      gw,
      ...(gw === '0.0.0.0' && { scope: RT_SCOPE_LINK }),
    });
    at += 5 + significant;
  }
  return routes;
}

/** Only what the configuration asked for comes: none of it is asked for by default. */
function dnsOf(ack: DhcpMessage): CniDns | undefined {
  const nameservers = addressesOf(ack, OPTION.nameservers);
  const told = Buffer.from(ack.options.get(OPTION.domainName) ?? [])
    .toString('latin1')
    .replace(/\0+$/, '');
  // It ends in somebody's resolv.conf.
  const domain = /^[A-Za-z0-9_.-]+$/.test(told) ? told : '';
  if (nameservers.length === 0 && domain === '') return undefined;
  return { ...(nameservers.length > 0 && { nameservers }), ...(domain && { domain }) };
}

export function addressesOf({ options }: DhcpMessage, code: number): string[] {
  const bytes = options.get(code) ?? new Uint8Array();
  return Array.from({ length: Math.floor(bytes.length / 4) }, (_, n) => formatIp(bytes.subarray(n * 4, n * 4 + 4)));
}

export function numberOf({ options }: DhcpMessage, code: number): number | undefined {
  const bytes = options.get(code);
  return bytes?.length === 4 ? Buffer.from(bytes).readUInt32BE() : undefined;
}

function prefixLengthOf(mask: Uint8Array): number {
  const bits = Buffer.from(mask).readUInt32BE();
  return bits === 0 ? 0 : 32 - Math.log2((~bits >>> 0) + 1);
}

/** How long a lease counts, in milliseconds from when it was asked for. Infinity is a lease for ever. */
export interface LeaseTerms {
  renewMs: number;
  rebindMs: number;
  leaseMs: number;
}

const FOREVER = 0xffff_ffff;
/** For servers that say nothing, as the reference plugin takes it. */
const UNSAID_SECONDS = 3600;

/** RFC 2131, 4.4.5: half and seven eighths, unless the server says otherwise and in order. */
export function termsOf(ack: DhcpMessage): LeaseTerms {
  const seconds = numberOf(ack, OPTION.leaseTime) ?? UNSAID_SECONDS;
  if (seconds === FOREVER) return { renewMs: Infinity, rebindMs: Infinity, leaseMs: Infinity };
  const leaseMs = Math.max(1, seconds) * 1000;
  const told = (code: number, most: number) => {
    const ms = (numberOf(ack, code) ?? 0) * 1000;
    return ms > 0 && ms <= most ? ms : undefined;
  };
  const rebindMs = told(OPTION.rebindingTime, leaseMs) ?? leaseMs * 0.875;
  return { leaseMs, rebindMs, renewMs: told(OPTION.renewalTime, rebindMs) ?? Math.min(leaseMs / 2, rebindMs) };
}

export const isUsableAddress = (address: string) => address !== '0.0.0.0' && parseIp(address)[0]! < 224;

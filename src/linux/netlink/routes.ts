import { formatIp, ipFamily, parseIp, parsePrefix } from '../ip.ts';
import { type Attribute, bytes, LITTLE_ENDIAN, nested, readAttributes, readU32, u32 } from './attributes.ts';
import {
  AF_INET,
  AF_INET6,
  ROUTE_TYPES,
  RT_SCOPE_HOST,
  RT_SCOPE_LINK,
  RT_SCOPE_NOWHERE,
  RT_SCOPE_UNIVERSE,
  RT_TABLE_MAIN,
  RTA_DST,
  RTA_GATEWAY,
  RTA_METRICS,
  RTA_OIF,
  RTA_PREFSRC,
  RTA_PRIORITY,
  RTA_TABLE,
  RTAX_ADVMSS,
  RTAX_MTU,
  RTM_F_CLONED,
  RTNH_F_ONLINK,
} from './constants.ts';

export type RouteType = keyof typeof ROUTE_TYPES;

export interface Route {
  family: 4 | 6;
  type: RouteType;
  /** CIDR; the default route is `0.0.0.0/0` or `::/0`. */
  destination: string;
  gateway?: string;
  linkIndex?: number;
  source?: string;
  /** 0 is the best. */
  metric: number;
  /** Who made it (rtm_protocol): 2 kernel, 3 boot, 4 static, … */
  protocol: number;
  table: number;
  scope: number;
  onlink: boolean;
  /** Bytes; of packets that go this way. */
  mtu?: number;
  /** Bytes that TCP tells the other side to put in a segment. */
  advertisedMss?: number;
}

export interface RouteSpec {
  /** Default unicast. */
  type?: RouteType;
  destination: string;
  gateway?: string;
  linkIndex?: number;
  source?: string;
  metric?: number;
  /** Default 4 (static). Give your own number to what you want to find again. */
  protocol?: number;
  /** Default main. */
  table?: number;
  /** The gateway is reachable on the link although no route says so. */
  onlink?: boolean;
  /** RT_SCOPE_*; default: as ip(8) chooses. */
  scope?: number;
  mtu?: number;
  advertisedMss?: number;
}

const RTPROT_STATIC = 4;
const TYPE_NAMES = new Map<number, RouteType>(
  Object.entries(ROUTE_TYPES).map(([name, number]) => [number, name as RouteType]),
);

/** struct rtmsg and attributes. For a deletion everything that is left out matches anything. */
export function encodeRoute(spec: RouteSpec, purpose: 'add' | 'delete'): Uint8Array[] {
  const destination = parsePrefix(spec.destination);
  const type = spec.type ?? 'unicast';
  const header = Buffer.alloc(12);
  header[0] = destination.family === 4 ? AF_INET : AF_INET6;
  header[1] = destination.prefixLength;
  // Numbers above 255 stand in RTA_TABLE only.
  const table = spec.table ?? RT_TABLE_MAIN;
  header[4] = table < 256 ? table : 0;
  header[5] = spec.protocol ?? (purpose === 'add' ? RTPROT_STATIC : 0);
  header[6] = purpose === 'delete' ? RT_SCOPE_NOWHERE : (spec.scope ?? defaultScope(type, spec.gateway));
  header[7] = purpose === 'delete' && spec.type === undefined ? ROUTE_TYPES.unspec : ROUTE_TYPES[type];
  const flags = spec.onlink ? RTNH_F_ONLINK : 0;
  if (LITTLE_ENDIAN) header.writeUInt32LE(flags, 8);
  else header.writeUInt32BE(flags, 8);
  const attributes: Attribute[] = [
    u32(RTA_TABLE, table),
    ...(destination.prefixLength > 0 ? [bytes(RTA_DST, destination.address)] : []),
    ...(spec.gateway === undefined ? [] : [bytes(RTA_GATEWAY, parseIp(spec.gateway))]),
    ...(spec.linkIndex === undefined ? [] : [u32(RTA_OIF, spec.linkIndex)]),
    ...(spec.source === undefined ? [] : [bytes(RTA_PREFSRC, parseIp(spec.source))]),
    ...(spec.metric === undefined ? [] : [u32(RTA_PRIORITY, spec.metric)]),
    ...(purpose === 'delete' ? [] : metrics(spec)),
  ];
  return [header, ...attributes.flat()];
}

function metrics({ mtu, advertisedMss }: RouteSpec): Attribute[] {
  const said = [
    ...(mtu === undefined ? [] : [u32(RTAX_MTU, mtu)]),
    ...(advertisedMss === undefined ? [] : [u32(RTAX_ADVMSS, advertisedMss)]),
  ];
  return said.length === 0 ? [] : [nested(RTA_METRICS, said)];
}

/** As ip(8) chooses: a route to the link itself has link scope, one through a gateway or to nowhere is universal. */
function defaultScope(type: RouteType, gateway: string | undefined): number {
  if (type === 'local') return RT_SCOPE_HOST;
  if (type === 'broadcast' || type === 'multicast' || type === 'anycast') return RT_SCOPE_LINK;
  return type === 'unicast' && gateway === undefined ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
}

/** undefined for what is no route of a table (cloned cache entries, other families). */
export function decodeRoute(body: Buffer): Route | undefined {
  const family = body[0] === AF_INET ? 4 : body[0] === AF_INET6 ? 6 : undefined;
  const flags = readU32(body, 8);
  if (!family || flags & RTM_F_CLONED) return undefined;
  const attributes = readAttributes(body, 12);
  const number = (type: number) => {
    const data = attributes.get(type);
    return data && readU32(data);
  };
  const ip = (type: number) => {
    const data = attributes.get(type);
    return data && formatIp(data);
  };
  const metricsData = attributes.get(RTA_METRICS);
  const metric = (type: number) => {
    const data = metricsData && readAttributes(metricsData).get(type);
    return data && readU32(data);
  };
  return {
    family,
    type: TYPE_NAMES.get(body[7]!) ?? 'unspec',
    destination: `${ip(RTA_DST) ?? (family === 4 ? '0.0.0.0' : '::')}/${body[1]}`,
    gateway: ip(RTA_GATEWAY),
    linkIndex: number(RTA_OIF),
    source: ip(RTA_PREFSRC),
    metric: number(RTA_PRIORITY) ?? 0,
    protocol: body[5]!,
    table: number(RTA_TABLE) ?? body[4]!,
    scope: body[6]!,
    onlink: (flags & RTNH_F_ONLINK) !== 0,
    mtu: metric(RTAX_MTU),
    advertisedMss: metric(RTAX_ADVMSS),
  };
}

/** The default route's destination in the family of an address. */
export function defaultDestination(address: string): string {
  return ipFamily(address) === 4 ? '0.0.0.0/0' : '::/0';
}

import { readFileSync } from 'node:fs';
import { isIP, isIPv4 } from 'node:net';
import { type NetworkInterfaceInfo, networkInterfaces } from 'node:os';

export interface AddressSources {
  /** `/proc/net/route` and `/proc/net/ipv6_route`. */
  route4: string;
  route6: string;
  interfaces: Record<string, NetworkInterfaceInfo[] | undefined>;
}

export function readAddressSources(): AddressSources {
  return {
    route4: readOrEmpty('/proc/net/route'),
    route6: readOrEmpty('/proc/net/ipv6_route'),
    interfaces: networkInterfaces(),
  };
}

/**
 * The node's addresses, primary family first: those that were configured (checked), else the address of the interface
 * that holds the default route, else the first global one. Throws an Error that says what to give.
 */
export function chooseNodeIps(configured: readonly string[], sources: AddressSources): string[] {
  if (configured.length > 0) {
    for (const ip of configured) checkNodeIp(ip, sources);
    return [...configured];
  }
  const device = defaultRouteDevice4(sources.route4) ?? defaultRouteDevice6(sources.route6);
  const preferred = device ? (sources.interfaces[device] ?? []) : [];
  const all = Object.values(sources.interfaces).flatMap((addresses) => addresses ?? []);
  for (const candidates of [preferred, all])
    for (const family of ['IPv4', 'IPv6']) {
      const found = candidates.find((one) => one.family === family && !one.internal && isUsable(one.address));
      if (found) return [found.address];
    }
  throw new Error('no address of this host can be the node IP (no default route, no global address): give --node-ip');
}

function checkNodeIp(ip: string, { interfaces }: AddressSources) {
  const refuse = (why: string): never => {
    throw new Error(`node IP ${ip} ${why}; give an address of this host with --node-ip`);
  };
  if (!isIP(ip)) refuse('is not an IP address');
  if (!isUsable(ip)) refuse('is a loopback, multicast, link-local or unspecified address');
  const own = Object.values(interfaces).flatMap((addresses) => addresses ?? []);
  if (!own.some(({ address }) => address === ip)) refuse("is not found in the host's network interfaces");
}

function isUsable(ip: string): boolean {
  if (isIPv4(ip)) {
    const [first = 0, second = 0] = ip.split('.').map(Number);
    return first !== 0 && first !== 127 && first < 224 && !(first === 169 && second === 254);
  }
  return !/^(::1?$|fe[89ab]|ff)/i.test(ip);
}

/** Device of the default route with the lowest metric. */
export function defaultRouteDevice4(table: string): string | undefined {
  const routes = table
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    // Device, destination, gateway, flags, references, use, metric, mask; flag 0x200 rejects.
    .filter((row) => row[1] === '00000000' && row[7] === '00000000' && !(Number.parseInt(row[3] ?? '0', 16) & 0x200));
  return routes.sort((a, b) => Number(a[6]) - Number(b[6]))[0]?.[0];
}

/** The same for IPv6: destination, its prefix length, …, metric, …, flags, device. */
export function defaultRouteDevice6(table: string): string | undefined {
  const routes = table
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter((row) => /^0{32}$/.test(row[0] ?? '') && row[1] === '00' && row[9] !== 'lo');
  return routes.sort((a, b) => Number.parseInt(a[5]!, 16) - Number.parseInt(b[5]!, 16))[0]?.[9];
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

import {
  CNI_ERROR,
  type CniDns,
  CniError,
  type CniInterface,
  type CniIp,
  type CniResult,
  type CniRoute,
} from '../types.ts';
import { canonicalIp, canonicalRoute } from './canonical.ts';
import { type CniVersion, isAtLeast, parseVersion } from './versions.ts';

/**
 * Results on the wire. Three shapes in seven versions:
 *
 *     0.1.0, 0.2.0   ip4 and ip6 objects, one address each, no interfaces
 *     0.3.0 – 0.4.0  interfaces, ips with a `version`, routes
 *     1.0.0, 1.1.0   the same without `version`; 1.1.0 has more of interfaces and routes
 */
export function renderResult(result: CniResult, version: CniVersion): Record<string, unknown> {
  const dns = result.dns ?? {};
  if (!isAtLeast(version, '0.3.0')) return { cniVersion: version, ...renderLegacyIps(result), dns };
  const isOld = !isAtLeast(version, '1.0.0');
  const isNewest = isAtLeast(version, '1.1.0');
  const { interfaces, ips, routes } = result;
  return {
    cniVersion: version,
    ...(interfaces.length > 0 && {
      interfaces: interfaces.map(({ name, mac, mtu, sandbox, socketPath, pciID }) => ({
        name,
        ...(mac && { mac }),
        ...(isNewest && mtu && { mtu }),
        ...(sandbox && { sandbox }),
        ...(isNewest && socketPath && { socketPath }),
        ...(isNewest && pciID && { pciID }),
      })),
    }),
    ...(ips.length > 0 && {
      ips: ips.map((ip) => ({ ...(isOld && { version: familyOf(ip.address) === 4 ? '4' : '6' }), ...ip })),
    }),
    ...(routes.length > 0 && {
      routes: routes.map(({ dst, gw, mtu, advmss, priority, table, scope }) => ({
        dst,
        ...(gw && { gw }),
        ...(isNewest && { mtu, advmss, priority, table, scope }),
      })),
    }),
    dns,
  };
}

function renderLegacyIps({ ips, routes }: CniResult): Record<string, unknown> {
  const ofFamily = (family: 4 | 6) => {
    const ip = ips.find(({ address }) => familyOf(address) === family);
    if (!ip) return undefined;
    const own = routes.filter(({ dst }) => familyOf(dst) === family).map(({ dst, gw }) => ({ dst, ...(gw && { gw }) }));
    return { ip: ip.address, ...(ip.gateway && { gateway: ip.gateway }), ...(own.length > 0 && { routes: own }) };
  };
  return { ...(ofFamily(4) && { ip4: ofFamily(4) }), ...(ofFamily(6) && { ip6: ofFamily(6) }) };
}

/**
 * Reads a result of any version (a `prevResult`, another plugin's output). Addresses and destinations are written as the kernel writes them
 * afterwards, so that what it has can be compared; null means absent, as to Go.
 * @throws CniError 6 that names the field.
 */
export function parseResult(value: unknown, otherwise: CniVersion): CniResult {
  const from = objectOf(value, 'result');
  const version = parseVersion(from.cniVersion || otherwise);
  const dns = isAbsent(from.dns) ? {} : { dns: objectOf(from.dns, 'dns') as CniDns };
  if (!isAtLeast(version, '0.3.0')) return { ...parseLegacyIps(from), ...dns };
  const interfaces = listOf(from.interfaces, 'interfaces').map((one): CniInterface => {
    const { name, mac, mtu, sandbox, socketPath, pciID } = one as unknown as Partial<CniInterface>;
    if (typeof name !== 'string') throw wrong('interfaces[].name');
    return {
      name,
      sandbox: sandbox ?? '',
      ...(mac && { mac }),
      ...(mtu && { mtu }),
      ...(socketPath && { socketPath }),
      ...(pciID && { pciID }),
    };
  });
  const ips = listOf(from.ips, 'ips').map((one): CniIp => {
    const { address, gateway } = one as unknown as Partial<CniIp>;
    const index = (one['interface'] ?? undefined) as number | undefined;
    if (index !== undefined && !(Number.isInteger(index) && index >= 0 && index < interfaces.length))
      throw wrong(`ips[].interface ${index} of ${interfaces.length} interfaces`);
    return { ...addressOf('ips[]', address, gateway), ...(index !== undefined && { interface: index }) };
  });
  return { interfaces, ips, routes: routesOf(from.routes), ...dns };
}

function parseLegacyIps(from: Record<string, unknown>): CniResult {
  const result: CniResult = { interfaces: [], ips: [], routes: [] };
  for (const key of ['ip4', 'ip6']) {
    if (isAbsent(from[key])) continue;
    const { ip, gateway, routes } = objectOf(from[key], key) as { ip?: string; gateway?: string; routes?: unknown };
    result.ips.push(addressOf(key, ip, gateway));
    result.routes.push(...routesOf(routes));
  }
  return result;
}

function routesOf(value: unknown): CniRoute[] {
  return listOf(value, 'routes').map((one) => {
    try {
      return canonicalRoute(one as unknown as CniRoute);
    } catch (cause) {
      throw wrong('routes[]', `${JSON.stringify(one)}: ${(cause as Error).message}`);
    }
  });
}

function addressOf(field: string, address: unknown, gateway: unknown): CniIp {
  try {
    return canonicalIp({ address: String(address), ...(!isAbsent(gateway) && { gateway: String(gateway) }) });
  } catch (cause) {
    throw wrong(field, (cause as Error).message);
  }
}

const isAbsent = (value: unknown) => value === undefined || value === null;

const familyOf = (address: string) => (address.includes(':') ? 6 : 4);

function objectOf(value: unknown, field: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(field);
  return value as Record<string, unknown>;
}

function listOf(value: unknown, field: string): Record<string, unknown>[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw wrong(field);
  return value.map((one) => objectOf(one, `${field}[]`));
}

const wrong = (field: string, why = 'is not as it must be') =>
  new CniError(CNI_ERROR.decodeFailure, `could not parse the result: ${field} ${why}`);

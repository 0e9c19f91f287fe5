import { CNI_ERROR, type CniDns, CniError, type CniIp, type CniRoute, type IpamPlugin } from '../types.ts';
import { canonicalIp } from '../wire/canonical.ts';

/** Addresses as they are written in the configuration, for a network with one container or one that is told by its runtime. */
export interface StaticConfig {
  addresses: readonly CniIp[];
  routes: readonly CniRoute[];
  dns?: CniDns;
}

/** Keeps nothing: who writes the addresses sees to it that nobody else has them. */
export const staticIpam: IpamPlugin<StaticConfig> = {
  type: 'static',
  add: async ({ addresses, routes, dns }) => ({
    interfaces: [],
    ips: [...addresses],
    routes: [...routes],
    ...(dns && { dns }),
  }),
  async del() {},
  async check({ addresses }, _request, result) {
    const missing = addresses.find(({ address }) => !result.ips.some((ip) => ip.address === address));
    if (missing) throw new CniError(CNI_ERROR.unknown, `static: ${missing.address} is not in the result of the ADD`);
    const otherwise = addresses.find(
      ({ address, gateway }) => gateway && result.ips.some((ip) => ip.address === address && ip.gateway !== gateway),
    );
    if (otherwise)
      throw new CniError(
        CNI_ERROR.unknown,
        `static: the gateway of ${otherwise.address} is not ${otherwise.gateway} in the result of the ADD`,
      );
  },
  async gc() {},
  async status() {},
};

/** @throws CniError 7 for an address without a length, or a gateway that is none. */
export function checkStaticAddress(ip: { address?: unknown; gateway?: unknown }): CniIp {
  const { address, gateway } = ip;
  try {
    if (typeof address !== 'string') throw new Error('has no address');
    return canonicalIp({ address, ...(gateway !== undefined && gateway !== null && { gateway: String(gateway) }) });
  } catch (cause) {
    throw new CniError(
      CNI_ERROR.invalidNetworkConfig,
      `ipam.addresses: ${JSON.stringify(ip)}: ${(cause as Error).message}; write it like {"address": "10.1.2.3/24", "gateway": "10.1.2.1"}`,
      { cause },
    );
  }
}

import { formatIp, parseIp, parsePrefix, prefixContains } from '../../src/linux/ip.ts';
import { checkStaticAddress, type StaticConfig, staticIpam } from '../ipam/static.ts';
import { CNI_ERROR, CniError, type CniIp } from '../types.ts';
import type { ProgramPlugin } from '../wire/call.ts';
import { readFields } from '../wire/fields.ts';
import type { NetConf } from '../wire/net-conf.ts';
import { refuseManyOfOneFamily, routesOf } from './addresses.ts';
import { refuseUnknownArguments } from './arguments.ts';
import { parseDns } from './dns.ts';

export const staticProgram: ProgramPlugin<StaticConfig> = {
  type: 'static',
  parse: parseStatic,
  open: () => ({ plugin: staticIpam, close() {} }),
};

/**
 * As in the reference plugin: CNI_ARGS' `IP` adds to the file's addresses, and `GATEWAY` goes to those of them whose subnet it is in;
 * `args.cni.ips` stand in place of all of these, and the runtime's `ips` in place of those.
 */
function parseStatic(conf: NetConf, args: Readonly<Record<string, string>>): StaticConfig {
  refuseUnknownArguments(args, ['IP', 'GATEWAY']);
  const ipam = readFields(conf.ipam);
  const named = listed(args['IP']).map((address) => checkStaticAddress({ address }));
  const written = (ipam.list('addresses') as { address?: unknown }[]).map(checkStaticAddress);
  const inArgs = readFields(conf.raw).section('args').section('cni').list('ips');
  const offered = readFields(conf.runtimeConfig).list('ips');
  const instead = [offered, inArgs].find((list) => list.length > 0)?.map((address) => checkStaticAddress({ address }));
  const addresses = instead ?? [...written, ...listed(args['GATEWAY']).reduce(withGateway, named)];
  refuseManyOfOneFamily(
    conf.cniVersion,
    addresses.map(({ address }) => parsePrefix(address).family),
  );
  const dns = parseDns(ipam);
  return { addresses, routes: routesOf(ipam), ...(dns && { dns }) };
}

/** A gateway belongs to the addresses whose subnet it is in. */
function withGateway(addresses: CniIp[], gateway: string): CniIp[] {
  let parsed: Uint8Array;
  try {
    parsed = parseIp(gateway);
  } catch {
    throw new CniError(CNI_ERROR.invalidNetworkConfig, `invalid gateway address: ${gateway}`);
  }
  return addresses.map((ip) =>
    prefixContains(parsePrefix(ip.address), parsed) ? { ...ip, gateway: formatIp(parsed) } : ip,
  );
}

const listed = (text = '') =>
  text
    .split(',')
    .map((item) => item.trim())
    .filter(Boolean);

import { createHostLocal, DEFAULT_DATA_DIR, type HostLocalConfig } from '../ipam/host-local.ts';
import type { RangeConfig } from '../ipam/range.ts';
import { CNI_ERROR, CniError } from '../types.ts';
import type { ProgramPlugin } from '../wire/call.ts';
import { type Fields, readFields } from '../wire/fields.ts';
import type { NetConf } from '../wire/net-conf.ts';
import { refuseManyOfOneFamily, routesOf } from './addresses.ts';
import { refuseUnknownArguments } from './arguments.ts';
import type { PluginDependencies } from './dependencies.ts';

export function hostLocalProgram(deps: PluginDependencies): ProgramPlugin<HostLocalConfig> {
  return {
    type: 'host-local',
    parse: parseHostLocal,
    open: () => ({ plugin: createHostLocal(deps), close() {} }),
  };
}

/** Ranges that the runtime offers stand before the file's: `last_reserved_ip` goes by their place. */
function parseHostLocal(conf: NetConf, args: Readonly<Record<string, string>>): HostLocalConfig {
  refuseUnknownArguments(args, ['IP']);
  const ipam = readFields(conf.ipam);
  const runtime = readFields(conf.runtimeConfig);
  const offered = runtime.list('ipRanges') as RangeConfig[][];
  const single = ipam.text('subnet') === '' ? [] : [[singleRange(ipam)]];
  const ranges = [...offered, ...single, ...(ipam.list('ranges') as RangeConfig[][])];
  // What the ranges say is judged by who allocates: a DEL frees addresses whatever the configuration has become.
  refuseManyOfOneFamily(
    conf.cniVersion,
    ranges.map((set) => (String(set?.[0]?.subnet).includes(':') ? 6 : 4)),
  );
  const dataDir = ipam.text('dataDir') || DEFAULT_DATA_DIR;
  if (!dataDir.startsWith('/'))
    throw new CniError(CNI_ERROR.invalidNetworkConfig, `ipam.dataDir: ${JSON.stringify(dataDir)} is no absolute path`);
  const resolvConf = ipam.text('resolvConf');
  return {
    network: conf.name,
    dataDir,
    ranges,
    routes: routesOf(ipam),
    requested: [...(args['IP'] ? [args['IP']] : []), ...argumentIps(conf), ...texts(runtime, 'ips')],
    ...(resolvConf && { resolvConf }),
  };
}

/** The oldest form: one range, in the section itself. */
function singleRange(ipam: Fields): RangeConfig {
  const optional = (key: 'rangeStart' | 'rangeEnd' | 'gateway') => ({
    ...(ipam.text(key) && { [key]: ipam.text(key) }),
  });
  return { subnet: ipam.text('subnet'), ...optional('rangeStart'), ...optional('rangeEnd'), ...optional('gateway') };
}

/** `args.cni.ips`. */
function argumentIps(conf: NetConf): string[] {
  return texts(readFields(conf.raw).section('args').section('cni'), 'ips');
}

function texts(fields: Fields, key: string): string[] {
  return fields.list(key).map((one) => {
    if (typeof one === 'string') return one;
    throw new CniError(CNI_ERROR.invalidNetworkConfig, `${key}: ${JSON.stringify(one)} is no address`);
  });
}

import { readFileSync } from 'node:fs';
import { createHostLocal, DEFAULT_DATA_DIR, type HostLocalConfig } from '../ipam/host-local.ts';
import type { RangeConfig } from '../ipam/range.ts';
import { checkStaticAddress, type StaticConfig, staticIpam } from '../ipam/static.ts';
import {
  type AttachmentKey,
  CNI_ERROR,
  type CniDns,
  CniError,
  type CniRoute,
  type DetachRequest,
  type IpamPlugin,
  type Plugin,
} from '../types.ts';
import type { PluginContext, ProgramPlugin } from '../wire/call.ts';
import { execPlugin } from '../wire/exec-plugin.ts';
import { type Fields, readFields, refuseKeys } from '../wire/fields.ts';
import type { NetConf } from '../wire/net-conf.ts';
import type { PluginDependencies } from './dependencies.ts';

export function hostLocalProgram(deps: PluginDependencies): ProgramPlugin<HostLocalConfig> {
  return {
    type: 'host-local',
    parse: parseHostLocal,
    open: () => ({ plugin: createHostLocal(deps), close() {} }),
  };
}

export const staticProgram: ProgramPlugin<StaticConfig> = {
  type: 'static',
  parse: parseStatic,
  open: () => ({ plugin: staticIpam, close() {} }),
};

function parseHostLocal(conf: NetConf): HostLocalConfig {
  const ipam = readFields(conf.ipam);
  refuseKeys(conf.ipam, 'host-local', ['ips']);
  if (conf.runtimeConfig['ips'] !== undefined)
    throw new CniError(CNI_ERROR.unsupportedField, 'host-local: runtimeConfig.ips is not supported');
  const offered = readFields(conf.runtimeConfig).list('ipRanges') as RangeConfig[][];
  const single = conf.ipam['subnet'] === undefined ? [] : [[singleRange(ipam)]];
  return {
    network: conf.name,
    dataDir: ipam.text('dataDir') || DEFAULT_DATA_DIR,
    ranges: [...offered, ...single, ...(ipam.list('ranges') as RangeConfig[][])],
    routes: routesOf(ipam),
  };
}

/** The oldest form: one range, in the section itself. */
function singleRange(ipam: Fields): RangeConfig {
  const optional = (key: 'rangeStart' | 'rangeEnd' | 'gateway') => ({
    ...(ipam.text(key) && { [key]: ipam.text(key) }),
  });
  return { subnet: ipam.text('subnet'), ...optional('rangeStart'), ...optional('rangeEnd'), ...optional('gateway') };
}

function parseStatic(conf: NetConf, args: Readonly<Record<string, string>>): StaticConfig {
  const ipam = readFields(conf.ipam);
  const offered = readFields(conf.runtimeConfig)
    .list('ips')
    .map((address) => ({ address }));
  const named = (args['IP'] ?? '').split(',').filter(Boolean);
  const gateways = (args['GATEWAY'] ?? '').split(',').filter(Boolean);
  const fromArgs = named.map((address, index) => ({ address, gateway: gateways[index] }));
  // The runtime's word stands above the arguments', and those above the file's.
  const chosen = [offered, fromArgs, ipam.list('addresses') as { address?: unknown }[]].find((list) => list.length > 0);
  const dns = conf.ipam['dns'] as CniDns | undefined;
  return { addresses: (chosen ?? []).map(checkStaticAddress), routes: routesOf(ipam), ...(dns && { dns }) };
}

function routesOf(ipam: Fields): CniRoute[] {
  return ipam.list('routes').map((route) => {
    const { dst } = route as Partial<CniRoute>;
    if (typeof dst !== 'string')
      throw new CniError(CNI_ERROR.invalidNetworkConfig, `ipam.routes: ${JSON.stringify(route)} has no dst`);
    return route as CniRoute;
  });
}

/** The manager that a configuration names: one of ours in process, or any program of CNI_PATH. Its configuration is the whole one. */
export function createIpamByName(deps: PluginDependencies, context: PluginContext): IpamPlugin<NetConf> {
  const own = [hostLocalProgram(deps), staticProgram] as ProgramPlugin[];
  const opened = new Map<string, Plugin<unknown>>();

  function ours(conf: NetConf, args = {}): { plugin: Plugin<unknown>; config: unknown } | undefined {
    const program = own.find(({ type }) => type === conf.ipam.type);
    if (!program) return undefined;
    const plugin = opened.get(program.type) ?? program.open(context).plugin;
    opened.set(program.type, plugin);
    return { plugin, config: program.parse(conf, args) };
  }

  function call(conf: NetConf, command: 'ADD' | 'DEL' | 'CHECK' | 'GC' | 'STATUS', request?: DetachRequest) {
    const { path } = context;
    return execPlugin(conf.ipam.type ?? '', { ...request, command, path, conf: conf.raw }, deps.run);
  }

  return {
    type: 'ipam',
    async add(conf, request) {
      const mine = ours(conf, request.args);
      const result = mine ? await mine.plugin.add(mine.config, request) : await call(conf, 'ADD', request);
      if (!result || result.ips.length === 0)
        throw new CniError(CNI_ERROR.unknown, 'IPAM plugin returned missing IP config', {
          details: `ipam.type ${JSON.stringify(conf.ipam.type)}`,
        });
      return withResolvConf(conf, result);
    },
    async del(conf, request) {
      const mine = ours(conf, request.args);
      await (mine ? mine.plugin.del(mine.config, request) : call(conf, 'DEL', request));
    },
    async check(conf, request, result) {
      const mine = ours(conf, request.args);
      await (mine ? mine.plugin.check(mine.config, request, result) : call(conf, 'CHECK', request));
    },
    async gc(conf, valid: readonly AttachmentKey[]) {
      const mine = ours(conf);
      await (mine ? mine.plugin.gc(mine.config, valid) : call(conf, 'GC'));
    },
    async status(conf) {
      const mine = ours(conf);
      await (mine ? mine.plugin.status(mine.config) : call(conf, 'STATUS'));
    },
  };
}

/** host-local gives a resolv.conf's content as the result's `dns`. */
function withResolvConf(conf: NetConf, result: Awaited<ReturnType<Plugin<unknown>['add']>>) {
  const file = readFields(conf.ipam).text('resolvConf');
  if (file === '' || conf.ipam.type !== 'host-local') return result;
  return { ...result, dns: parseResolvConf(readFileSync(file, 'utf8')) };
}

/** Pure; comments and what CNI has no word for are left out. */
export function parseResolvConf(text: string): CniDns {
  const dns: Required<CniDns> = { nameservers: [], domain: '', search: [], options: [] };
  for (const line of text.split('\n')) {
    const [word, ...rest] = line.trim().split(/\s+/);
    if (word === 'nameserver' && rest[0]) dns.nameservers.push(rest[0]);
    if (word === 'domain' && rest[0]) dns.domain = rest[0];
    if (word === 'search') dns.search.push(...rest);
    if (word === 'options') dns.options.push(...rest);
  }
  return Object.fromEntries(Object.entries(dns).filter(([, value]) => value.length > 0));
}

import { createDhcpIpam, DEFAULT_DHCP_SOCKET } from '../ipam/dhcp/dhcp.ts';
import type { DhcpConfig } from '../ipam/dhcp/lease-holder.ts';
import { parseClientOptions } from '../ipam/dhcp/options.ts';
import { CNI_ERROR, CniError } from '../types.ts';
import type { ProgramPlugin } from '../wire/call.ts';
import { parseArgs } from '../wire/environment.ts';
import { readFields } from '../wire/fields.ts';
import { type NetConf, readNetConf } from '../wire/net-conf.ts';
import type { PluginDependencies } from './dependencies.ts';

export function dhcpProgram(deps: PluginDependencies): ProgramPlugin<DhcpConfig> {
  return {
    type: 'dhcp',
    parse: parseDhcp,
    open: () => ({ plugin: createDhcpIpam(deps.dhcpLeases), close() {} }),
  };
}

function parseDhcp(conf: NetConf, args: Readonly<Record<string, string>>): DhcpConfig {
  const ipam = readFields(conf.ipam);
  const socketPath = ipam.text('daemonSocketPath') || DEFAULT_DHCP_SOCKET;
  if (!socketPath.startsWith('/'))
    throw invalid(`ipam.daemonSocketPath: ${JSON.stringify(socketPath)} is no absolute path`);
  const suppress = ipam.list('suppress');
  const unknown = suppress.find((item) => item !== 'gateway');
  if (unknown !== undefined) throw invalid(`ipam.suppress: ${JSON.stringify(unknown)} is not "gateway"`);
  const priority = ipam.count('priority');
  return {
    network: conf.name,
    socketPath,
    options: parseClientOptions({ request: ipam.list('request'), provide: ipam.list('provide') }, args),
    raw: conf.raw,
    result: { suppressGateway: suppress.length > 0, ...(priority > 0 && { priority }) },
  };
}

/**
 * What a daemon is told by a plugin, whoever wrote that: the configuration as JSON, and CNI_ARGS. Its version, results in it and where the
 * plugin finds the daemon are the plugin's matter.
 * @throws CniError 7 as the plugin itself.
 */
export function parseDhcpCall(conf: string, args: string): DhcpConfig {
  return readDhcpConf(JSON.parse(conf), parseArgs(args));
}

/** The same of what is read already. @throws CniError 7. */
export function readDhcpConf(
  raw: Readonly<Record<string, unknown>>,
  args: Readonly<Record<string, string>>,
): DhcpConfig {
  const netConf = readNetConf({ ...raw, cniVersion: undefined, prevResult: undefined });
  return parseDhcp({ ...netConf, ipam: { ...netConf.ipam, daemonSocketPath: undefined } }, args);
}

const invalid = (message: string) => new CniError(CNI_ERROR.invalidNetworkConfig, `dhcp: ${message}`);

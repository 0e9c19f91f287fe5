import { createDhcpIpam, DEFAULT_DHCP_SOCKET, type DhcpConfig } from '../ipam/dhcp/dhcp.ts';
import { parseClientOptions } from '../ipam/dhcp/options.ts';
import { CNI_ERROR, CniError } from '../types.ts';
import type { ProgramPlugin } from '../wire/call.ts';
import { readFields } from '../wire/fields.ts';
import type { NetConf } from '../wire/net-conf.ts';
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
    result: { suppressGateway: suppress.length > 0, ...(priority > 0 && { priority }) },
  };
}

const invalid = (message: string) => new CniError(CNI_ERROR.invalidNetworkConfig, `dhcp: ${message}`);
